"""Draws of a batch that depend on (seed, step, global sample index) and on nothing else.

Neither the rank, the number of processes nor the other samples of the batch enter, so a run may
resume at another world size and a prompt gives the same clip alone or among others. Draws are made
on the CPU in float32 and then moved, so they are the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from syncflow.noise import keyed_generator
from syncflow.records import AVLatents

Indices = Tensor | Sequence[int]


def keyed_normal(shape: Sequence[int], *, stream: str, seed: int, step: int = 0, index: Indices) -> Tensor:
    """Standard normal draws `b *shape` (float32), one generator a sample of `index` (b).

    `stream` says what they are for: draws of different streams are independent.
    """
    draws = [torch.randn(tuple(shape), generator=keyed_generator(stream, seed, step, int(i))) for i in index]
    return torch.stack(draws)


def keyed_uniform(*, stream: str, seed: int, step: int = 0, index: Indices) -> Tensor:
    """Uniform draws in [0, 1), one a sample of `index`: `b` (float32)."""
    return torch.stack([torch.rand((), generator=keyed_generator(stream, seed, step, int(i))) for i in index])


def keyed_noise(
    like: AVLatents, *, seed: int, step: int = 0, index: Indices, stream: str = "noise"
) -> AVLatents:
    """Noise with the shapes, dtype and device of `like`; each modality has a stream of its own.

    So the video's noise is the same whatever the audio's length, and the other way round. Sampling
    uses another `stream` than training: the same seed does not start from noise that was trained on.
    """

    def draw(name: str, part: Tensor | None) -> Tensor | None:
        if part is None:
            return None
        return keyed_normal(part.shape[1:], stream=name, seed=seed, step=step, index=index).to(part)

    return AVLatents(video=draw(f"{stream}.video", like.video), audio=draw(f"{stream}.audio", like.audio))
