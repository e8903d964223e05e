"""Who attends to whom: the three visual attention schemes of FoleyGen, as boolean masks (True: attends)."""

import torch
from torch import Tensor

from syncflow.foleygen.config import FoleyGenConfig


def frame_of_step(steps: int, frames: int, config: FoleyGenConfig) -> Tensor:
    """The frame at the time of each audio token, int64 `s`; the last one where there is none so late."""
    times = torch.arange(steps, dtype=torch.float64) / config.code_rate
    return (times * config.feature_rate + 1e-9).long().clamp_max(frames - 1)


def audio_to_frames(steps: int, frames: int, config: FoleyGenConfig) -> Tensor:
    """Audio tokens (rows) to frames (columns): bool `s f`."""
    own = frame_of_step(steps, frames, config).unsqueeze(1)
    number = torch.arange(frames)
    if config.visual_attention == "all":
        return torch.ones(steps, frames, dtype=torch.bool)
    return number <= own if config.visual_attention == "causal" else number == own


def frames_to_frames(frames: int, config: FoleyGenConfig) -> Tensor:
    """Among the tokens of the prefix: bool `f f`. A frame sees no more than an audio token that attends to it
    may, or later frames would reach the audio through earlier ones."""
    whole = torch.ones(frames, frames, dtype=torch.bool)
    if config.visual_attention == "all":
        return whole
    return whole.tril() if config.visual_attention == "causal" else torch.eye(frames, dtype=torch.bool)


def causal(steps: int) -> Tensor:
    """Audio tokens to those before them and themselves: bool `s s`."""
    return torch.ones(steps, steps, dtype=torch.bool).tril()


def prefix_mask(steps: int, frames: int, config: FoleyGenConfig) -> Tensor:
    """Frames, then audio tokens, to the same: bool `f+s f+s`."""
    mask = torch.zeros(frames + steps, frames + steps, dtype=torch.bool)
    mask[:frames, :frames] = frames_to_frames(frames, config)
    mask[frames:, :frames] = audio_to_frames(steps, frames, config)
    mask[frames:, frames:] = causal(steps)
    return mask
