"""The straight path between noise and data (Section 3.1, rectified flow)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncflow.flow.latents import map_latents, per_sample, rows_like
from syncflow.records import AVLatents, PathSample

if TYPE_CHECKING:
    from torch import Tensor


def interpolate(x_0: AVLatents, x_1: AVLatents, t: Tensor, video_t: Tensor | None = None) -> AVLatents:
    """x_t = (1 - t) x_0 + t x_1, with one time `t` (b) for both modalities of a sample.

    With `video_t` the video has a time of its own.

    Exactly `x_0` at t = 0 and exactly `x_1` at t = 1. `x_0` may hold several draws of noise for a sample,
    its rows together; data and time then serve each of them.
    """

    def mix(noise: Tensor | None, data: Tensor | None, t: Tensor) -> Tensor | None:
        if noise is None or data is None:
            return None
        data, time = rows_like(data, noise), per_sample(rows_like(t, noise), noise).to(data.dtype)
        return (1 - time) * noise + time * data

    video = mix(x_0.video, x_1.video, t if video_t is None else video_t)
    return AVLatents(video=video, audio=mix(x_0.audio, x_1.audio, t))


def sample_path(x_1: AVLatents, x_0: AVLatents, t: Tensor, video_t: Tensor | None = None) -> PathSample:
    """The point at times `t` (b) on the paths from noise `x_0` to data `x_1`, and its velocity x_1 - x_0.

    Args:
        video_t: flow times of the video where they are not `t`.
    """
    return PathSample(
        x_t=interpolate(x_0, x_1, t, video_t),
        velocity=map_latents(lambda data, noise: rows_like(data, noise) - noise, x_1, x_0),
        t=t,
        video_t=t if video_t is None else video_t,
    )
