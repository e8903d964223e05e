"""A folder of another model's weights is refused where transformers would fill in random numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    EncodecConfig,
    EncodecModel,
    PreTrainedModel,
    ResNetBackbone,
    ResNetConfig,
    T5Config,
    T5EncoderModel,
)

from preprocessing.config import CaptionConfig
from preprocessing.git_captioner import load_git
from syncflow.errors import UserError
from syncflow.foleygen.codec import load_codec
from syncflow.foleygen.config import VisualConfig
from syncflow.foleygen.visual import load_visual
from syncflow.pretrained import load_whole
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig
from syncflow.training.autoencoder.perceptual import PerceptualDistance
from tests.tiny_git import tiny_git

T5 = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=64)
EYE = CLIPVisionConfig(
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
)
CODEC = EncodecConfig(num_filters=4, hidden_size=8, codebook_dim=8, codebook_size=16, num_lstm_layers=1)
SIGHT = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
CASES: dict[str, tuple[Callable[[], PreTrainedModel], Callable[[Path], object]]] = {
    "T5": (lambda: T5EncoderModel(T5), lambda folder: TextEncoder(TextConfig(location=str(folder)))),
    "CLIP": (
        lambda: CLIPVisionModelWithProjection(EYE),
        lambda folder: load_visual(VisualConfig(location=str(folder)), device="cpu"),
    ),
    "EnCodec": (lambda: EncodecModel(CODEC), lambda folder: load_codec(str(folder), num_codebooks=2)),
    "ResNet": (lambda: ResNetBackbone(SIGHT), PerceptualDistance),
    "GIT": (
        lambda: tiny_git()[0],
        lambda folder: load_git(CaptionConfig(model=str(folder), frames=6), device="cpu"),
    ),
}


def without_one_tensor(folder: Path) -> str:
    """Takes the last layer's norm or bias out of a saved model; its name."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = sorted(name for name in tensors if name.endswith(("bias", "layer_norm.weight")))[-1]
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("kind", CASES)
def test_weights_that_lack_a_tensor_are_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    make, load = CASES[kind]
    torch.manual_seed(0)
    make().save_pretrained(tmp_path)
    name = without_one_tensor(tmp_path)
    with pytest.raises((UserError, ValueError), match="other weights than this model's") as refused:
        load(tmp_path)
    assert name.rpartition(".")[2] in str(refused.value) and "is missing" in str(refused.value)


@pytest.mark.parametrize("kind", CASES)
def test_a_cut_file_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    make, load = CASES[kind]
    make().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((UserError, ValueError)):
        load(tmp_path)


def test_a_whole_model_is_read_and_another_shape_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = T5EncoderModel(T5)
    model.save_pretrained(tmp_path)
    read = load_whole(T5EncoderModel, tmp_path).state_dict()
    assert all(torch.equal(value, read[name]) for name, value in model.state_dict().items())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["shared.weight"] = torch.zeros(8, 16)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"shared\.weight"):
        load_whole(T5EncoderModel, tmp_path)
