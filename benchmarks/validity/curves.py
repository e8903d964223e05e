"""A metric's response to one damage at rising levels, and what is said of it.

A step counts where it is more than chance: of a mean over clips where the paired 95 % bootstrap interval of
the differences leaves zero out, of a set distance where it is larger than the spread that real clips give
against real ones.
"""

import math
from dataclasses import dataclass

import numpy as np

from syncflow.evaluation.measure import FLOOR_DRAWS, SEED, set_distance, values_by_clip
from syncflow.evaluation.metrics.catalogue import Metric, SetDistance, Source
from syncflow.evaluation.metrics.interval import mean_interval

Features = dict[Source, dict[str, np.ndarray]]
"""Features of the clips of one collection, damaged or not, by source and clip id."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """A metric at one level: per clip, or one number for the set."""

    values: np.ndarray  # `clip`, NaN where undefined; of a set distance one number

    @property
    def mean(self) -> float:
        return float(np.nanmean(self.values)) if np.isfinite(self.values).any() else math.nan


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What real clips give against real ones: mean, largest, and two deviations over draws."""

    mean: float
    largest: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The responses to one damage; the first is that of the undamaged clips."""

    labels: tuple[str, ...]
    responses: tuple[Response, ...]
    lower_is_better: bool
    floor: Floor | None  # of a set distance

    def worse(self, earlier: int, later: int) -> int:
        """1 where `later` is worse than `earlier` by more than chance, -1 where it is better, else 0."""
        first, second = self.responses[earlier].values, self.responses[later].values
        sign = 1 if self.lower_is_better else -1
        if self.floor is not None:
            change = float(second[0] - first[0])
            return 0 if abs(change) <= self.floor.spread else sign * (1 if change > 0 else -1)
        found = mean_interval(second - first, seed=SEED)
        if math.isnan(found.value) or found.low <= 0 <= found.high:
            return 0
        return sign * (1 if found.value > 0 else -1)

    @property
    def seen_from(self) -> str:
        """The first level that is worse than none; empty where there is no such level."""
        places = range(1, len(self.responses))
        return next((self.labels[place] for place in places if self.worse(0, place) > 0), "")

    @property
    def steps_back(self) -> list[str]:
        """Levels at which the metric is better than at the level before."""
        places = range(1, len(self.responses))
        return [self.labels[place] for place in places if self.worse(place - 1, place) < 0]

    @property
    def verdict(self) -> str:
        """For a table: from which level on the damage is seen, and where the curve turns back."""
        back = ", ".join(self.steps_back)
        if not self.seen_from:
            return f"better at {back}" if back else "not seen"
        return f"from {self.seen_from}" + (f"; back at {back}" if back else "")


def respond(
    metric: Metric, damaged: Features, undamaged: Features, reference: Features, fps: float
) -> Response:
    """The metric of the damaged clips: against other real clips, or against the same clips undamaged."""
    if isinstance(metric, SetDistance):
        ours, theirs = stacked(damaged[metric.source]), stacked(reference[metric.source])
        return Response(values=np.array([set_distance(metric, theirs, ours)]))

    def load(source: Source) -> dict[str, np.ndarray]:
        plain = Source(extractor=source.extractor, output=source.output)
        return (undamaged if source.side == "reference" else damaged)[plain]

    ids = sorted(next(iter(damaged.values())))
    return Response(values=np.array(values_by_clip(metric, load, ids, fps=fps)))


def stacked(features: dict[str, np.ndarray]) -> np.ndarray:
    """All clips' features: `example feature`."""
    return np.concatenate([np.atleast_2d(each) for each in features.values()])


def floor_between(metric: SetDistance, first: Features, second: Features) -> Floor:
    """Of both halves of a collection, divided anew at random into two as large."""
    every = [
        np.atleast_2d(each) for each in (*first[metric.source].values(), *second[metric.source].values())
    ]
    size, values = len(second[metric.source]), []
    for draw in range(FLOOR_DRAWS):
        order = np.random.default_rng(SEED + draw).permutation(len(every))
        theirs, ours = (
            np.concatenate([np.atleast_2d(every[i]) for i in o]) for o in (order[size:], order[:size])
        )
        values.append(set_distance(metric, theirs, ours))
    deviation = float(np.std(values, ddof=1))
    return Floor(mean=float(np.mean(values)), largest=max(values), spread=2 * deviation)
