"""AST: the published preprocessing, and a network of its shape."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from syncflow.errors import UserError
from syncflow.evaluation.extractors import ast_classes
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.weight_files import MissingWeightsError


def test_two_seconds_are_padded_with_zeros_before_they_are_standardised() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    mel = ast_classes.spectrogram(sound)[0]
    assert mel.shape == (1024, 128)
    assert (mel[198:] == pytest.approx(4.2677393 / (2 * 4.5689974))) and mel[:198].std() > 0.01


def test_logits_of_a_small_network_and_a_refusal_of_too_little_sound() -> None:
    from transformers import ASTConfig, ASTForAudioClassification

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=527
    )
    extractor = ast_classes.AstExtractor(
        ASTForAudioClassification(config),
        weights_sha256="x",
        settings=ast_classes.AstSettings(),
        device="cpu",
    )
    sound = np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32)
    clips = [DecodedMedia(audio=sound[:n], sample_rate=48_000) for n in (96_000, 600)]
    found, short = extractor(clips)
    assert not isinstance(found, Refused) and found["logits"].shape == (527,)
    assert isinstance(short, Refused)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"ast-finetuned.*346 MB, BSD-3-Clause"):
        ast_classes.AstExtractor.load(tmp_path)


@pytest.mark.parametrize("fault", ["garbage", "another model", "another size", "no config"])
def test_a_folder_of_another_model_is_refused_rather_than_filled_with_random_numbers(
    tmp_path: Path, fault: str
) -> None:
    from transformers import ASTConfig, ASTForAudioClassification

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 527}
    place = tmp_path / ast_classes.FILE.name
    ASTForAudioClassification(ASTConfig(hidden_size=16, **sizes)).save_pretrained(place)
    ast_classes.AstExtractor.load(tmp_path)
    file = place / "model.safetensors"
    if fault == "garbage":
        file.write_bytes(b"no weights")
    elif fault == "another model":
        save_file({"encoder.weight": torch.zeros(3)}, file, metadata={"format": "pt"})
    elif fault == "another size":
        ASTConfig(hidden_size=32, **sizes).save_pretrained(place)
    else:
        (place / "config.json").unlink()
    with pytest.raises(UserError, match=r"it should be ast-finetuned-audioset.*346 MB"):
        ast_classes.AstExtractor.load(tmp_path)
