from pathlib import Path

import numpy as np
import pytest
import torch

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.hashing import caption_key
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig

TINY = TextConfig(location="", max_tokens=48, dtype="float32")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(TINY)


def test_only_valid_tokens_come_out_and_never_more_than_the_limit(encoder: TextEncoder) -> None:
    captions = ["", "hit", "é", "x" * 500]
    lengths = [len(tokens) for tokens in encoder.encode(captions)]
    assert lengths == [1, 4, 3, 48]  # bytes and the end mark


def test_embedding_of_a_caption_does_not_depend_on_its_neighbours(encoder: TextEncoder) -> None:
    together = encoder.encode(["a stick hits metal", "x", "a long caption about gravel and cloth"])
    alone = encoder.encode(["a stick hits metal"])
    assert alone[0].tobytes() == together[0].tobytes()
    assert alone[0].dtype == np.float16 and alone[0].shape[1] == encoder.width


def test_different_captions_have_different_embeddings(encoder: TextEncoder) -> None:
    one, other = encoder.encode(["hits wood", "hits woof"])
    assert np.abs(one.astype(np.float32) - other.astype(np.float32)).max() > 0.1


def test_seed_fixes_the_weights_and_leaves_the_global_generator_alone(encoder: TextEncoder) -> None:
    before = torch.get_rng_state()
    again, other = TextEncoder(TINY), TextEncoder(TINY.model_copy(update={"seed": 1}))
    assert torch.equal(before, torch.get_rng_state())
    assert again.sha256 == encoder.sha256 != other.sha256


def test_hash_covers_what_cuts_the_prompts(encoder: TextEncoder) -> None:
    assert TextEncoder(TINY.model_copy(update={"max_tokens": 47})).sha256 != encoder.sha256


def test_saved_encoder_comes_back_whole(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    loaded = TextEncoder.from_pretrained(tmp_path)
    assert loaded.sha256 == encoder.sha256
    assert loaded.encode(["poke"])[0].tobytes() == encoder.encode(["poke"])[0].tobytes()
    by_location = TextEncoder(TINY.model_copy(update={"location": str(tmp_path)}))
    assert by_location.sha256 == encoder.sha256


def test_missing_weights_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot load a T5 encoder"):
        TextEncoder(TINY.model_copy(update={"location": str(tmp_path / "nothing")}))


def test_eight_bits_are_near_and_come_back_whole(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="int8 needs the t5 extra")
    exact = TextEncoder(TINY.model_copy(update={"width": 128, "seed": 3}))
    exact.save_pretrained(tmp_path / "exact")
    coarse = TextEncoder(TINY.model_copy(update={"location": str(tmp_path / "exact"), "dtype": "int8"}))
    assert coarse.model.get_memory_footprint() < 0.5 * exact.model.get_memory_footprint()
    near, far = coarse.encode(["a stick hits metal"])[0], exact.encode(["a stick hits metal"])[0]
    assert np.linalg.norm(near.astype(np.float32) - far) < 0.05 * np.linalg.norm(far.astype(np.float32))
    assert coarse.sha256 != exact.sha256
    coarse.save_pretrained(tmp_path / "int8")
    again = TextEncoder.from_pretrained(tmp_path / "int8")
    assert again.sha256 == coarse.sha256
    assert again.encode(["a stick hits metal"])[0].tobytes() == near.tobytes()


def test_eight_bits_are_for_loaded_encoders() -> None:
    with pytest.raises(UserError, match="dtype int8 needs a location"):
        validate(TextConfig, {"location": "", "dtype": "int8"}, source="preset")


def test_key_is_the_sha256_of_the_caption() -> None:
    assert caption_key("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
