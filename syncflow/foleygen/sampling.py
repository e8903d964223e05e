"""Codes for videos: step by step, with classifier-free guidance and top-k."""

from collections.abc import Sequence

import torch
from torch import Tensor

from syncflow.foleygen.config import CodeSamplingConfig
from syncflow.foleygen.delay_pattern import from_sequence, holds_code, sequence_length
from syncflow.foleygen.model import FoleyGen
from syncflow.foleygen.transformer import Cache
from syncflow.noise import keyed_generator


@torch.inference_mode()
def sample_codes(
    model: FoleyGen,
    features: Tensor,
    *,
    num_codes: int,
    config: CodeSamplingConfig,
    seed: int,
    index: Sequence[int],
) -> Tensor:
    """Codes int64 `b k n` for the frames' features `b f d`.

    A clip's draws depend on (seed, its index) and its features, not on the clips beside it.

    Args:
        num_codes: codes of each codebook, `n`.
        config: guidance, top-k and temperature.
        seed: of the draws.
        index: a number for each clip.
    """
    settings, b = model.settings, len(features)
    k, steps = settings.num_codebooks, sequence_length(num_codes, settings.num_codebooks)
    draws = [keyed_generator("foleygen", seed, number) for number in index]
    device = model.no_frames.device
    sequence = torch.full((b, k, steps), model.special, dtype=torch.int64, device=device)
    predict = _Predictor(model, features.to(device), guidance=config.guidance, cached=config.cache)
    for step in range(steps - 1):
        logits = predict(sequence, step)
        codes = _draw(logits.float().cpu(), config, draws).to(device)
        has_code = holds_code(step + 1, num_codes=num_codes, num_codebooks=k).to(device)
        sequence[:, :, step + 1] = torch.where(has_code, codes, model.special)
    return from_sequence(sequence).cpu()


class _Predictor:
    """Guided logits `b k v` of the next step; with a cache, or from the whole sequence each time."""

    def __init__(self, model: FoleyGen, features: Tensor, *, guidance: float, cached: bool) -> None:
        self.model, self.guidance = model, guidance
        b, self.twice = len(features), guidance != 1.0
        self.features = torch.cat([features, features]) if self.twice else features
        self.dropped = torch.tensor([False] * b + [True] * b if self.twice else [False] * b)
        self.cache: Cache | None = None
        if cached:
            self.cache, self.frames = model.start(self.features, self.dropped)

    def __call__(self, sequence: Tensor, step: int) -> Tensor:
        rows = torch.cat([sequence, sequence]) if self.twice else sequence
        if self.cache is None:
            logits = self.model(rows[:, :, : step + 1], self.features, self.dropped)[:, :, -1]
        else:
            logits = self.model.next_logits(rows[:, :, step], step=step, cache=self.cache, frames=self.frames)
        if not self.twice:
            return logits
        conditional, unconditional = logits.chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)


def _draw(logits: Tensor, config: CodeSamplingConfig, draws: Sequence[torch.Generator]) -> Tensor:
    """One code a codebook, `b k`, each clip from its own generator."""
    logits = logits / config.temperature
    if config.top_k and config.top_k < logits.shape[-1]:
        least = logits.topk(config.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    shares = logits.softmax(-1)
    return torch.stack(
        [torch.multinomial(row, 1, generator=g)[:, 0] for row, g in zip(shares, draws, strict=True)]
    )
