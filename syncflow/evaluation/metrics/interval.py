"""95 % bootstrap intervals, keyed by a seed: of a mean or paired difference over clips, of a distance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DRAWS = 1000
LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval; NaN where there is nothing to estimate from."""

    value: float
    low: float = math.nan
    high: float = math.nan


def mean_interval(values: np.ndarray, *, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """Mean over clips and its percentile interval; NaN values are left out.

    Args:
        values: one number a clip; a paired difference is given as such.
    """
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if not len(kept):
        return Estimate(value=math.nan)
    means = kept[np.random.default_rng(seed).integers(0, len(kept), (draws, len(kept)))].mean(1)
    low, high = np.percentile(means, LEVELS)
    return Estimate(value=float(kept.mean()), low=float(low), high=float(high))


def draw_counts(clips: int, *, draws: int, seed: int) -> np.ndarray:
    """How often each clip is in each bootstrap draw: `draw clip`, rows that sum to `clips`."""
    return np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), size=draws)


def centred_interval(value: float, resampled: np.ndarray) -> Estimate:
    """The spread of the resampled values, laid around `value`.

    Clips that are drawn twice raise a Frechet distance in every draw; that shift is no uncertainty, so the
    draws' own mean is taken off.
    """
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled):
        return Estimate(value=value)
    low, high = np.percentile(resampled - resampled.mean(), LEVELS)
    return Estimate(value=value, low=value + float(low), high=value + float(high))


def resampled_distance(
    distance: Callable[[np.ndarray, np.ndarray], float],
    reference: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    draws: int,
) -> np.ndarray:
    """`distance` of both sets drawn anew with replacement, `draws` times.

    Args:
        generated: features of the generated clips, `n d`.
    """
    generator = np.random.default_rng(seed)
    return np.array(
        [
            distance(
                reference[generator.integers(0, len(reference), len(reference))],
                generated[generator.integers(0, len(generated), len(generated))],
            )
            for _ in range(draws)
        ]
    )
