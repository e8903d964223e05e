"""From noise to latents: what starts, and what is followed with or without a given video."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from syncflow.errors import UserError
from syncflow.flow.config import SolverConfig
from syncflow.flow.known import KnownLatents
from syncflow.flow.noise import keyed_noise
from syncflow.flow.solver import Step, Velocity, solve
from syncflow.records import AVLatents
from syncflow.systems.request import check_latents


def starting_noise(
    like: AVLatents, *, batch: int, seed: int, index: Sequence[int] | None, given: AVLatents
) -> AVLatents:
    """Float32 noise of `batch` clips, each keyed by `seed` and its number in `index` (0, 1, 2 ... if None).

    `like` has the modalities, shapes and device, `given` the noise that a caller brings along.

    Raises:
        UserError: not one number a clip, or given noise of another shape.
    """
    numbers = range(batch) if index is None else index
    if len(numbers) != batch:
        raise UserError(f"index: {len(numbers)} numbers for {batch} clips; give one a clip")
    drawn = keyed_noise(like, seed=seed, index=numbers, stream="sample")

    def choose(name: str, own: Tensor | None, theirs: Tensor | None) -> Tensor | None:
        if own is None or theirs is None:
            return own
        check_latents(name, theirs, shape=tuple(own.shape[1:]), batch=batch)
        return theirs.to(own)

    return AVLatents(
        video=choose("latents", drawn.video, given.video),
        audio=choose("audio_latents", drawn.audio, given.audio),
    )


def follow(
    velocity: Velocity,
    noise: AVLatents,
    *,
    video: Tensor | None,
    config: SolverConfig,
    callback: Callable[[Step], AVLatents | None],
) -> AVLatents:
    """Latents at t = 1. A given `video` (latents of all clips or, in turn, of several each) is held on
    its noised path, and is returned as given (Section 5, zero-shot video to audio)."""
    if video is None:
        return solve(velocity, noise, config=config, callback=callback)
    assert noise.video is not None, "video to sound makes both"
    video = video.repeat_interleave(noise.video.shape[0] // video.shape[0], dim=0)
    known = KnownLatents(
        x_0=noise,
        x_1=AVLatents(video=video, audio=None),
        mask=AVLatents(video=torch.ones((1,) * video.ndim, dtype=torch.bool), audio=None),
    )
    return known.finish(solve(known.wrap(velocity), noise, config=config, callback=callback))
