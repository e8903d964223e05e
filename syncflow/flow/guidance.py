"""Classifier-free guidance (equation 3), both passes in one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from syncflow.flow.config import GuidanceConfig
from syncflow.flow.latents import concatenate
from syncflow.records import AVLatents, TextBatch

Pass = Literal["conditional", "unconditional"]
TextVelocity = Callable[[AVLatents, Tensor, Any], AVLatents]
"""Velocity of latents at times `b` under prompts `b` (a TextBatch, or what `prepare` made of it)."""


def guide(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """u + w (u_s - u): exactly u at w = 0 and exactly u_s at w = 1.

    Args:
        unconditional: velocity u without the prompt.
        conditional: velocity u_s with the prompt.
    """
    return conditional if scale == 1 else unconditional + scale * (conditional - unconditional)


class GuidedVelocity:
    """The velocity that a solver follows: equation (3) over a model that takes prompts.

    Where one pass is enough (both weights 0 or both 1, or t outside the interval, where the weight
    is 1) only that pass runs; otherwise the two run as one batch of 2b.
    """

    def __init__(
        self,
        model: TextVelocity,
        *,
        text: TextBatch,
        negative: TextBatch | None,
        config: GuidanceConfig,
        prepare: Callable[[TextBatch], Any] = lambda text: text,
    ) -> None:
        """`negative` prompts stand in for the null prompt when given; None is the learned null prompt.

        `prepare` is what of the prompts does not depend on time: it runs once for each pass that is needed.
        """
        null = replace(text, dropped=torch.ones_like(text.dropped)) if negative is None else negative
        self.model, self.config, self._prepare = model, config, prepare
        self._given: dict[Pass, TextBatch] = {"conditional": text, "unconditional": null}
        self._prepared: dict[tuple[Pass, ...], Any] = {}

    def prompts(self, *passes: Pass) -> Any:
        """Those of one or both `passes` as one batch, prepared at the first call."""
        if passes not in self._prepared:
            given = [self._given[each] for each in passes]
            self._prepared[passes] = self._prepare(given[0] if len(given) == 1 else join_prompts(*given))
        return self._prepared[passes]

    def __call__(self, x_t: AVLatents, t: Tensor) -> AVLatents:
        inside = self.config.acts_at(float(t[0]))
        video_scale = self.config.scale if inside else 1.0
        audio_scale = self.config.scale_of_audio if inside else 1.0
        wanted = {
            scale for scale, part in ((video_scale, x_t.video), (audio_scale, x_t.audio)) if part is not None
        }
        if wanted == {1.0}:
            return self.model(x_t, t, self.prompts("conditional"))
        if wanted == {0.0}:
            return self.model(x_t, t, self.prompts("unconditional"))
        velocity = self.model(
            concatenate([x_t, x_t]), torch.cat([t, t]), self.prompts("conditional", "unconditional")
        )

        def apply(part: Tensor | None, scale: float) -> Tensor | None:
            if part is None:
                return None
            conditional, unconditional = part.chunk(2)
            return guide(unconditional, conditional, scale)

        return AVLatents(video=apply(velocity.video, video_scale), audio=apply(velocity.audio, audio_scale))


def join_prompts(first: TextBatch, second: TextBatch) -> TextBatch:
    """Two batches of prompts as one, padded on the right to the longer."""
    length = max(first.tokens.shape[1], second.tokens.shape[1])

    def pad(text: TextBatch) -> tuple[Tensor, Tensor]:
        missing = length - text.tokens.shape[1]
        tokens = torch.nn.functional.pad(text.tokens, (0, 0, 0, missing))
        return tokens, torch.nn.functional.pad(text.mask, (0, missing))

    (tokens_1, mask_1), (tokens_2, mask_2) = pad(first), pad(second)
    return TextBatch(
        tokens=torch.cat([tokens_1, tokens_2]),
        mask=torch.cat([mask_1, mask_2]),
        dropped=torch.cat([first.dropped, second.dropped]),
    )
