"""A metric over one system's features: a number with its interval, how many clips it is of, or why not."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from syncflow.evaluation.metrics.catalogue import (
    AvAlign,
    InceptionScore,
    Javis,
    Metric,
    PairedCosine,
    PairedKl,
    SetDistance,
    ShareAbove,
    Source,
    Undefined,
)
from syncflow.evaluation.metrics.classes import SPLITS, inception_score, kl_divergence
from syncflow.evaluation.metrics.distances import frechet_distance, gaussian_kernel_distance
from syncflow.evaluation.metrics.events import intersection_over_union
from syncflow.evaluation.metrics.interval import (
    Estimate,
    centred_interval,
    draw_counts,
    mean_interval,
)
from syncflow.evaluation.metrics.similarity import avh_score, cosine, javis_score

Load = Callable[[Source], Mapping[str, np.ndarray]]
"""Features by clip id of one source; clips without them are left out."""

KERNEL_DRAWS = 200
FLOOR_DRAWS = 20
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One metric of one system; `value` is NaN where it is withheld, and `note` says why."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    used: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What real clips give against real clips: mean and largest over draws of `clips` clips."""

    mean: float = math.nan
    largest: float = math.nan
    clips: int = 0


def measure(metric: Metric, load: Load, *, ids: Sequence[str], fps: float) -> Measured:
    """The metric over the clips of `ids` that have all of its features.

    Args:
        load: features of the system, of its references and of its prompts.
        ids: the clips that count, in order.
        fps: frames a second, by which JavisScore's half seconds are cut.
    """
    match metric:
        case Undefined():
            return Measured(note=metric.reason)
        case SetDistance():
            return _distance(metric, load(metric.source), load(_of_reference(metric.source)), ids)
        case InceptionScore():
            return _inception(load(metric.source), ids)
    values = values_by_clip(metric, load, ids, fps=fps)
    if not values:
        return Measured(note="no clip has all that it needs")
    found = mean_interval(np.array(values), seed=SEED)
    undefined = int(np.isnan(values).sum())
    note = f"{undefined} clips without events" if undefined else ""
    return Measured(
        value=found.value, low=found.low, high=found.high, used=len(values) - undefined, note=note
    )


def values_by_clip(
    metric: PairedKl | PairedCosine | Javis | AvAlign | ShareAbove,
    load: Load,
    ids: Sequence[str],
    *,
    fps: float,
) -> list[float]:
    """A metric that is a mean over clips: its values before the mean, NaN where it is undefined.

    Args:
        load: features by clip id of one source; clips that lack one of the metric's features are left out.
        ids: the clips that count, in order.
        fps: frames a second, by which JavisScore's half seconds are cut.
    """
    match metric:
        case PairedKl():
            target, generated = load(_of_reference(metric.source)), load(metric.source)
            both = [i for i in ids if i in target and i in generated]
            if not both:
                return []
            stacked = np.stack([target[i] for i in both]), np.stack([generated[i] for i in both])
            direction = "generated_from_target" if metric.reverse else "target_from_generated"
            return kl_divergence(*stacked, direction=direction).tolist()
        case PairedCosine():
            first, second = load(metric.first), load(metric.second)
            return [float(cosine(first[i], second[i])) for i in ids if i in first and i in second]
        case Javis():
            frames, audio = load(metric.frames), load(metric.audio)
            both = [i for i in ids if i in frames and i in audio]
            if audio and next(iter(audio.values())).ndim == 1:
                return [avh_score(frames[i], audio[i]) for i in both]
            return [javis_score(_half_seconds(frames[i], audio[i], fps)) for i in both]
        case ShareAbove():
            numbers = load(metric.source)
            return [float(numbers[i].max() > metric.threshold) for i in ids if i in numbers]
        case AvAlign():
            counts = load(metric.source)
            return [
                float(intersection_over_union(counts[i], variant=metric.variant)) for i in ids if i in counts
            ]


def _half_seconds(frames: np.ndarray, windows: np.ndarray, fps: float) -> list[tuple[np.ndarray, np.ndarray]]:
    length = round(0.5 * fps)
    return [(frames[i * length : (i + 1) * length], window) for i, window in enumerate(windows)]


def _of_reference(source: Source) -> Source:
    return Source(extractor=source.extractor, output=source.output, side="reference")


def _distance(
    metric: SetDistance,
    generated: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    ids: Sequence[str],
) -> Measured:
    ours = [np.atleast_2d(generated[i]) for i in ids if i in generated]
    theirs = [np.atleast_2d(features) for features in reference.values()]
    if len(ours) < 2 or len(theirs) < 2:
        return Measured(used=len(ours), note=f"{len(ours)} clips against {len(theirs)}: needs 2 and 2")
    value, resampled = _with_draws(metric, theirs, ours)
    found: Estimate = centred_interval(value, resampled)
    return Measured(value=found.value, low=found.low, high=found.high, used=len(ours))


def _with_draws(
    metric: SetDistance, reference: Sequence[np.ndarray], generated: Sequence[np.ndarray]
) -> tuple[float, np.ndarray]:
    """The distance, and that of sets drawn anew clip by clip."""
    if metric.kind == "kernel":
        weights = tuple(
            np.repeat(draw_counts(len(s), draws=KERNEL_DRAWS, seed=SEED + k), [len(f) for f in s], axis=1)
            for k, s in enumerate((reference, generated))
        )
        values = gaussian_kernel_distance(
            np.concatenate(reference), np.concatenate(generated), weights=(weights[0], weights[1])
        )
        return float(values[0]), values[1:]
    generator = np.random.default_rng(SEED)

    def drawn(clips: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([clips[i] for i in generator.integers(0, len(clips), len(clips))])

    draws = frechet_draws(generated, reference)
    resampled = [frechet_distance(drawn(reference), drawn(generated)) for _ in range(draws)]
    return frechet_distance(np.concatenate(reference), np.concatenate(generated)), np.array(resampled)


def frechet_draws(*sets: Sequence[np.ndarray]) -> int:
    """Bootstrap draws of a Frechet distance: fewer where one takes long."""
    side = max(min(sum(map(len, s)), s[0].shape[1]) for s in sets)
    return 200 if side <= 150 else 50 if side <= 300 else 10


def set_distance(metric: SetDistance, reference: np.ndarray, generated: np.ndarray) -> float:
    """The distance of two sets of features, `clip feature` each, without an interval.

    Args:
        generated: features of the generated clips.
    """
    if metric.kind == "kernel":
        return float(gaussian_kernel_distance(reference, generated)[0])
    return frechet_distance(reference, generated)


def floor_of(metric: Metric, reference: Mapping[str, np.ndarray], *, clips: int) -> Floor:
    """A set distance between `clips` reference clips and the others (at most half), over several draws.

    Args:
        metric: a distance of two sets.
    """
    every = [np.atleast_2d(features) for features in reference.values()]
    size = min(clips, len(every) // 2)
    if not isinstance(metric, SetDistance) or size < 2:
        return Floor()
    values = []
    for draw in range(FLOOR_DRAWS):
        order = np.random.default_rng(SEED + draw).permutation(len(every))
        ours = np.concatenate([every[i] for i in order[:size]])
        rest = np.concatenate([every[i] for i in order[size:]])
        values.append(set_distance(metric, rest, ours))
    return Floor(mean=float(np.mean(values)), largest=float(np.max(values)), clips=size)


def _inception(logits: Mapping[str, np.ndarray], ids: Sequence[str]) -> Measured:
    found = [logits[i] for i in ids if i in logits]
    if len(found) < SPLITS:
        return Measured(used=len(found), note=f"{len(found)} clips: needs {SPLITS}")
    mean, deviation = inception_score(np.stack(found))
    half = 1.96 * deviation / math.sqrt(SPLITS)
    return Measured(value=mean, low=mean - half, high=mean + half, used=len(found))
