"""ImageBind: video, sound and text in one space (Girdhar et al. 2023), by its published names and shapes.

The weights are the user's, under CC BY-NC-SA 4.0: they are read only where the settings accept that licence.
Everything here is written from tensor names, shapes and published facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.errors import UserError
from syncflow.evaluation.extractors.settings import ImageBindSettings
from syncflow.evaluation.extractors.weight_files import WeightFile, find, read, with_weights
from syncflow.hashing import file_sha256

FILE = WeightFile(
    name="imagebind_huge.pth",
    source="github.com/facebookresearch/ImageBind",
    licence="CC BY-NC-SA 4.0: not for commercial use",
    megabytes=4803,
)
LARGEST_SCALE = 100.0
TEXT_LENGTH = 77
USED = ("vision", "audio", "text")


@dataclass(frozen=True, kw_only=True)
class Tower:
    """Size of one modality's transformer."""

    width: int
    blocks: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the three towers that are used; the defaults are the published model's."""

    vision: Tower = Tower(width=1280, blocks=32, heads=16)
    audio: Tower = Tower(width=768, blocks=12, heads=12)
    text: Tower = Tower(width=1024, blocks=24, heads=16)
    joint: int = 1024
    tokens: int = 49_408


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, size: Tower, *, extra_key: bool) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(size.width, eps=1e-6), nn.LayerNorm(size.width, eps=1e-6)
        self.attn = nn.MultiheadAttention(size.width, size.heads, add_bias_kv=extra_key, batch_first=True)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(size.width, 4 * size.width), "fc2": nn.Linear(4 * size.width, size.width)}
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.norm_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm_2(x))))


class Trunk(nn.Module):
    """The blocks of one modality; vision has a norm before them.

    Args:
        extra_key: whether attention has a learned extra key and value.
        first_norm: whether tokens are normalised before the first layer.
    """

    def __init__(self, size: Tower, *, extra_key: bool = False, first_norm: bool = False) -> None:
        super().__init__()
        first = [nn.LayerNorm(size.width, eps=1e-6)] if first_norm else []
        self.pre_transformer_layer = nn.Sequential(*first)
        self.blocks = nn.ModuleList([Block(size, extra_key=extra_key) for _ in range(size.blocks)])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class Patches(nn.Module):
    """Patches of a picture or spectrogram -> tokens behind a class token, with their positions.

    Args:
        stem: the convolutions under their public names.
        tokens: of one input, without the class token.
    """

    def __init__(self, stem: nn.Module, width: int, tokens: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.rgbt_stem = stem
        self.pos_embedding_helper = nn.ParameterDict(
            {"pos_embed": nn.Parameter(torch.zeros(1, tokens + 1, width))}
        )

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.rgbt_stem(inputs).flatten(2).transpose(1, 2)
        tokens = self.norm(tokens)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens + self.pos_embedding_helper["pos_embed"]

    def norm(self, tokens: Tensor) -> Tensor:
        norm = getattr(self.rgbt_stem, "norm_layer", None)
        return tokens if norm is None else norm(tokens)


class VisionStem(nn.Module):
    """Two frames of 224 x 224 -> 16 x 16 patches: `b 3 2 224 224` -> `b e 1 16 16`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Identity(), nn.Conv3d(3, width, (2, 14, 14), (2, 14, 14), bias=False))

    def forward(self, frames: Tensor) -> Tensor:
        return self.proj(frames)


class AudioStem(nn.Module):
    """A spectrogram of 128 x 204 -> 12 x 19 patches: `b 1 128 204` -> `b e 12 19`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, 16, 10, bias=False)
        self.norm_layer = nn.LayerNorm(width)

    def forward(self, mel: Tensor) -> Tensor:
        return self.proj(mel)


class Words(nn.Module):
    """Token ids -> embeddings with positions, and the causal mask."""

    mask: Tensor

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, TEXT_LENGTH, width))
        self.token_embedding = nn.Embedding(tokens, width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.pos_embed


class TextHead(nn.Module):
    """Norm and projection of the end token."""

    def __init__(self, width: int, joint: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Linear(width, joint, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Scale(nn.Module):
    """exp(log_logit_scale), at most 100."""

    def __init__(self) -> None:
        super().__init__()
        self.log_logit_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=LARGEST_SCALE) * x


class ImageBind(nn.Module):
    """The vision, audio and text towers."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        vision, audio, text = sizes.vision, sizes.audio, sizes.text
        self.modality_preprocessors = nn.ModuleDict(
            {
                "vision": Patches(VisionStem(vision.width), vision.width, 16 * 16),
                "audio": Patches(AudioStem(audio.width), audio.width, 12 * 19),
                "text": Words(text.width, sizes.tokens),
            }
        )
        self.modality_trunks = nn.ModuleDict(
            {
                "vision": Trunk(vision, first_norm=True),
                "audio": Trunk(audio, extra_key=True),
                "text": Trunk(text),
            }
        )
        self.modality_heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.LayerNorm(size.width, eps=1e-6),
                    nn.Identity(),
                    nn.Linear(size.width, sizes.joint, bias=False),
                )
                for name, size in (("vision", vision), ("audio", audio))
            }
        )
        self.modality_heads["text"] = TextHead(text.width, sizes.joint)
        self.modality_postprocessors = nn.ModuleDict(
            {name: nn.Sequential(nn.Identity(), Scale()) for name in ("audio", "text")}
        )

    def vision(self, frames: Tensor) -> Tensor:
        """Two frames of one view `b 3 2 224 224`, standardised -> `b joint`, of length 1."""
        x = self.modality_trunks["vision"](self.modality_preprocessors["vision"](frames))
        return functional.normalize(self.modality_heads["vision"](x[:, 0]), dim=-1)

    def audio(self, mel: Tensor) -> Tensor:
        """Spectrograms `b 1 128 204` -> `b joint`, scaled."""
        x = self.modality_trunks["audio"](self.modality_preprocessors["audio"](mel))
        unit = functional.normalize(self.modality_heads["audio"](x[:, 0]), dim=-1)
        return self.modality_postprocessors["audio"](unit)

    def text(self, ids: Tensor) -> Tensor:
        """Token ids `b 77` -> `b joint`, scaled."""
        causal = torch.full((TEXT_LENGTH, TEXT_LENGTH), float("-inf"), device=ids.device).triu(1)
        x = self.modality_trunks["text"](self.modality_preprocessors["text"](ids), causal)
        end = x[torch.arange(len(x), device=x.device), ids.argmax(1)]
        return self.modality_postprocessors["text"](
            functional.normalize(self.modality_heads["text"](end), dim=-1)
        )


def used_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors of the three towers; the mask is computed."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.split(".")[1] in USED and name != "modality_preprocessors.text.mask"
    }


@dataclass(frozen=True, kw_only=True)
class LoadedImageBind:
    """The model with what identifies it, shared by its extractors."""

    model: ImageBind
    settings: ImageBindSettings
    device: str
    identity: Mapping[str, Any]


def load_imagebind(folder: Path, *, settings: ImageBindSettings, device: str = "cpu") -> LoadedImageBind:
    """The user's weights in `folder`.

    Raises:
        UserError: the licence is not accepted, or the weights are not ImageBind's.
        MissingWeightsError: no such file.
    """
    if not settings.accept_noncommercial_licence:
        raise UserError(
            f"ImageBind: {FILE.name} is under {FILE.licence}; if that fits your use, set "
            "accept_noncommercial_licence: true"
        )
    path = find(FILE, folder)
    model = with_weights(ImageBind, used_tensors(read(path)), source=str(path))
    return loaded_imagebind(model, weights_sha256=file_sha256(path), settings=settings, device=device)


def loaded_imagebind(
    model: ImageBind, *, weights_sha256: str, settings: ImageBindSettings, device: str
) -> LoadedImageBind:
    """`model` with its identity."""
    identity = {
        "weights": FILE.name,
        "weights_sha256": weights_sha256,
        "resampler": settings.resampler,
    }
    return LoadedImageBind(model=model.to(device), settings=settings, device=device, identity=identity)
