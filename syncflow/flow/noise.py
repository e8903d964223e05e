"""Draws of a batch that depend on (seed, step, global sample index) and on nothing else.

Neither the rank, the number of processes nor the other samples of the batch enter, so a run may
resume at another world size and a prompt gives the same clip alone or among others. Draws are made
on the CPU in float32 and then moved, so they are the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from syncflow.flow.latents import send
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
    """Uniform draws in [0, 1), one a sample of `index`: `b` (float32).

    Args:
        stream: what the draws are for; each stream has draws of its own.
    """
    return torch.stack([torch.rand((), generator=keyed_generator(stream, seed, step, int(i))) for i in index])


def keyed_noise(
    like: AVLatents,
    *,
    seed: int,
    step: int = 0,
    index: Indices,
    stream: str = "noise",
    audio_draws: int = 1,
) -> AVLatents:
    """Noise with the shapes, dtype and device of `like`; each modality has a stream of its own.

    With `audio_draws` K the audio's is `(b K) n d`, the draws of a sample together; the first of them
    is the one that K = 1 gives.

    So the video's noise is the same whatever the audio's length, and the other way round. Sampling
    uses another `stream` than training: the same seed does not start from noise that was trained on.
    """

    def draw(name: str, part: Tensor) -> Tensor:
        drawn = keyed_normal(part.shape[1:], stream=name, seed=seed, step=step, index=index)
        return send(drawn, part.device).to(part.dtype)

    video = audio = None
    if like.video is not None:
        video = draw(f"{stream}.video", like.video)
    if like.audio is not None:
        names = [f"{stream}.audio", *(f"{stream}.audio.{k}" for k in range(1, audio_draws))]
        audio = torch.stack([draw(name, like.audio) for name in names], dim=1).flatten(0, 1)
    return AVLatents(video=video, audio=audio)
