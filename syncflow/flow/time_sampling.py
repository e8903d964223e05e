"""Flow times of training, and the shift that larger clips call for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from syncflow.flow.config import TimeConfig

BASE_PIXELS = 512 * 512  # of one frame: the size at which Open-Sora v1.2 shifts nothing


def shift_ratio(*, height: int, width: int, num_frames: int) -> float:
    """Open-Sora v1.2's shift for a clip of `num_frames` frames of `height` x `width` pixels.

    It counts 5 latent frames for every whole 17 frames (5 for 32, though its VAE makes 9); at least one here,
    where it would divide by nothing.
    """
    latent_frames = max(1, num_frames // 17 * 5)
    return math.sqrt(height * width / BASE_PIXELS) * math.sqrt(latent_frames)


def shift_times(t: Tensor, ratio: float) -> Tensor:
    """t / (t + ratio (1 - t)): 0 and 1 stay, times between move towards noise when `ratio` is above 1."""
    return t / (t + ratio * (1 - t))


def sample_times(uniform: Tensor, *, config: TimeConfig, ratio: float = 1.0) -> Tensor:
    """Flow times `b` in (0, 1) of uniform draws `b` in [0, 1) (see `noise.keyed_uniform`).

    The draws may also be a stratified grid, as validation wants. `ratio` is the clip's
    `shift_ratio`, used when the config says `shift: resolution`.
    """
    t = uniform
    if config.distribution == "logit_normal":
        inside = uniform.double().clamp(1e-7, 1 - 1e-7)
        t = torch.sigmoid(config.logit_mean + config.logit_std * torch.special.ndtri(inside)).to(
            uniform.dtype
        )
    return shift_times(t, ratio) if config.shift == "resolution" else t


def video_times(t: Tensor, uniform: Tensor, *, clean: float) -> Tensor:
    """Flow times `b` of the frames of samples at `t`: 1 for a share `clean` of them, else t.

    `uniform` draws `b` in [0, 1) say which these are.
    """
    return torch.where(uniform < clean, torch.ones_like(t), t)
