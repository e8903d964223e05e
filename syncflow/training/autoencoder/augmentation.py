"""Varied frames for training an autoencoder: mirrored, zoomed, in other colours.

A few hundred clips have a few hundred backgrounds; without this a small autoencoder learns them by heart.
"""

import numpy as np
import torch
from torch.nn import functional as F

ZOOM = (0.6, 1.0)  # share of rows and columns that is cut out and enlarged again
GAIN = (0.6, 1.3)  # of each colour channel's deviation from its mean
SHIFT = 40.0  # at most, of each colour channel's mean; grey levels of 255


def vary(frames: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Frames `f h w c` uint8, all changed alike: what moves goes on moving the same way."""
    video = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float()  # f c h w
    video = _zoomed(video, generator)
    if torch.rand((), generator=generator) < 0.5:
        video = video.flip(3)
    if torch.rand((), generator=generator) < 0.5:
        video = video.flip(2)
    video = video[:, torch.randperm(video.shape[1], generator=generator)]
    mean = video.mean((0, 2, 3), keepdim=True)
    gain = GAIN[0] + (GAIN[1] - GAIN[0]) * torch.rand(mean.shape, generator=generator)
    shift = SHIFT * (2.0 * torch.rand(mean.shape, generator=generator) - 1.0)
    video = (video - mean) * gain + mean + shift
    return video.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _zoomed(video: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random part of the video, as large as the whole was."""
    height, width = video.shape[2:]
    share = float(ZOOM[0] + (ZOOM[1] - ZOOM[0]) * torch.rand((), generator=generator))
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top = int(torch.randint(height - rows + 1, (), generator=generator))
    left = int(torch.randint(width - columns + 1, (), generator=generator))
    part = video[:, :, top : top + rows, left : left + columns]
    return F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
