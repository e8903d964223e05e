"""VGGish: the original's examples and embeddings, and nothing for sound that is too short."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from syncflow.errors import UserError
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.vggish import FILE, VGGish, VGGishExtractor, VGGishSettings, examples
from syncflow.evaluation.extractors.weight_files import MissingWeightsError, with_weights
from tests.syncflow.evaluation.golden_weights import close, golden, made_weights

TINY = {"channels": (8, 8, 12, 12, 16, 16), "hidden": 32, "features": 24}


@pytest.mark.parametrize("case", ["a", "b", "c", "d", "e", "stereo"])
def test_the_front_end_equals_the_original(shared: Path, case: str) -> None:
    arrays, _ = golden(shared, "vggish_a")
    audio = arrays.get(f"{case}.resampled_16k", arrays[f"{case}.waveform"])
    audio = audio.mean(-1) if audio.ndim == 2 else audio
    close(examples(audio), arrays[f"{case}.examples"], tolerance=1e-5)


def test_digital_silence_equals_the_originals(shared: Path) -> None:
    arrays, _ = golden(shared, "vggish_a")
    close(examples(np.zeros(15_600, np.float32)), arrays["silence.examples"], tolerance=1e-6)


def test_the_resamplers_move_the_examples_a_little(shared: Path) -> None:
    """resampy's kernel against ours: the reason why the resampler is part of the protocol."""
    arrays, _ = golden(shared, "vggish_a")
    clip = DecodedMedia(audio=arrays["d.waveform"], sample_rate=48_000)
    from syncflow.evaluation.extractors.waveforms import waveform_at

    for resampler in ("sinc", "polyphase"):
        moved = np.abs(examples(waveform_at(clip, 16_000, resampler)) - arrays["d.examples"])
        assert 0 < moved.mean() < 0.05, resampler


def five_examples(arrays: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([arrays["a.examples"], arrays["c.examples"]]))


def test_embeddings_of_a_narrow_network_equal_the_originals(shared: Path) -> None:
    arrays, _ = golden(shared, "vggish_a")
    tiny = with_weights(
        lambda: VGGish(**TINY), load_file(shared / "golden/vggish_a/tiny.safetensors"), source="tiny"
    )
    close(tiny(five_examples(arrays)), arrays["tiny.embedding"])


@pytest.mark.slow
def test_embeddings_at_full_size_equal_the_originals(shared: Path) -> None:
    arrays, keys = golden(shared, "vggish_a")
    weights = made_weights(keys[FILE.name], gain=2**0.5)
    sums = json.loads((shared / "golden/vggish_a/config.json").read_text())["recipe_check"]
    assert all(float(weights[name].double().sum()) == pytest.approx(value) for name, value in sums.items())
    embedding = with_weights(VGGish, weights, source="made")(five_examples(arrays))
    close(embedding, arrays["full.embedding"])
    close(embedding.relu(), arrays["full.embedding_relu"])


def tiny_extractor(**settings: object) -> VGGishExtractor:
    torch.manual_seed(0)
    return VGGishExtractor(
        VGGish(**TINY), weights_sha256="x", settings=VGGishSettings(**settings), device="cpu"
    )


def test_under_0975_s_there_is_a_refusal_and_no_silent_nothing() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 15_600).astype(np.float32)
    clips = [DecodedMedia(audio=audio[:n], sample_rate=16_000) for n in (15_600, 15_599)]
    enough, short = tiny_extractor()(clips)
    assert not isinstance(enough, Refused) and enough["embedding"].shape == (1, 24)
    assert isinstance(short, Refused) and "0.975 s" in short.reason
    assert not isinstance(tiny_extractor(pad_to_s=2.0)(clips)[1], Refused)


def test_two_seconds_are_two_examples() -> None:
    clip = DecodedMedia(audio=np.zeros(96_000, np.float32), sample_rate=48_000)
    (found,) = tiny_extractor()([clip])
    assert not isinstance(found, Refused) and found["embedding"].shape == (2, 24)


def test_preprocessing_is_part_of_the_identity() -> None:
    identities = [tiny_extractor(**s).identity for s in ({}, {"resampler": "polyphase"}, {"pad_to_s": 2.0})]
    assert len({json.dumps(i) for i in identities}) == 3


def test_missing_weights_are_named_with_their_licence_and_give_no_number(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"vggish-10086976.pth \(289 MB, Apache-2.0\).*torchvggish"):
        VGGishExtractor.load(tmp_path)
    (tmp_path / FILE.name).write_bytes(b"pickle")
    with pytest.raises(MissingWeightsError, match="convert it once"):
        VGGishExtractor.load(tmp_path)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / FILE.converted)
    with pytest.raises(UserError, match=r"backbone.s: features\.0\.bias is missing"):
        VGGishExtractor.load(tmp_path)
