"""Latents that are given: video to audio, in-painting, continuation (Section 5, latent inversion)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from syncflow.flow.latents import per_sample
from syncflow.flow.solver import Velocity
from syncflow.records import AVLatents


class KnownLatents:
    """Holds the given part of the latents on its own straight path while the rest is solved for.

    At every evaluation the model sees (1 - t) x_0 + t x_1 in place of the given part, with `x_0` the
    sample's own noise, and the velocity of that part is x_1 - x_0; the solver's `finish` puts the
    given latent itself at t = 1. With all of the video given this is the paper's video-to-audio.
    """

    def __init__(self, *, x_0: AVLatents, x_1: AVLatents, mask: AVLatents) -> None:
        """`mask` is true where `x_1` is given; it broadcasts to the latents. A modality that is absent
        from `mask` is wholly to be made, and then `x_1` may lack it too."""
        self.x_0, self.x_1, self.mask = x_0, x_1, mask

    def wrap(self, velocity: Velocity) -> Velocity:
        """`velocity` with the given part held."""

        def held(x_t: AVLatents, t: Tensor) -> AVLatents:
            found = velocity(self._place(x_t, t), t)
            return self._blend(found, lambda noise, data: data - noise)

        return held

    def finish(self, x_1: AVLatents) -> AVLatents:
        """The result with the given latents in their places, exactly."""
        return self._blend(x_1, lambda noise, data: data)

    def _place(self, x_t: AVLatents, t: Tensor) -> AVLatents:
        def on_path(noise: Tensor, data: Tensor) -> Tensor:
            time = per_sample(t, data).to(data.dtype)
            return (1 - time) * noise + time * data

        return self._blend(x_t, on_path)

    def _blend(self, latents: AVLatents, function: Callable[[Tensor, Tensor], Tensor]) -> AVLatents:
        def apply(name: str) -> Tensor | None:
            part, mask = getattr(latents, name), getattr(self.mask, name)
            if part is None or mask is None:
                return part
            given = function(getattr(self.x_0, name), getattr(self.x_1, name))
            return torch.where(mask.to(part.device), given.to(part), part)

        return AVLatents(video=apply("video"), audio=apply("audio"))
