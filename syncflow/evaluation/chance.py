"""What the sync score gives by chance: each picture with the sound of every other clip.

Over N clips these are all N - 1 cyclic shifts at once, so the figure does not depend on the clips' order.
"""

from collections.abc import Sequence

import numpy as np

from syncflow.evaluation.sync import ClipEvents


def chance_f1(clips: Sequence[ClipEvents], *, tolerance_s: float) -> np.ndarray:
    """For each clip the mean F1 of its motion peaks with the onsets of all others: float64 `n`.

    A pair in which nothing is heard or seen is left out; NaN where no pair is left, as for a single clip.
    """
    sounds = _padded([clip.onsets for clip in clips])
    counts = np.array([len(clip.onsets) for clip in clips])
    means = np.full(len(clips), np.nan)
    for own, clip in enumerate(clips):
        events = counts + len(clip.peaks)
        others = events > 0
        others[own] = False
        if others.any():
            matched = _count_matches(clip.peaks, sounds, tolerance_s=tolerance_s)
            means[own] = (2 * matched[others] / events[others]).mean()
    return means


def _padded(events: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of instants, filled up with infinity: float64 `n most`; one column more than the most."""
    rows = np.full((len(events), max((len(each) for each in events), default=0) + 1), np.inf)
    for row, each in zip(rows, events, strict=True):
        row[: len(each)] = each
    return rows


def _count_matches(peaks: np.ndarray, sounds: np.ndarray, *, tolerance_s: float) -> np.ndarray:
    """Size of the largest one-to-one matching of `peaks` with each row of `sounds`: int64 `n`.

    Both rise and the tolerance is one for all, so taking the first free onset in reach of each peak in turn
    is as good as any assignment.
    """
    rows, reached = np.arange(len(sounds)), np.zeros(len(sounds), dtype=np.int64)
    matched = np.zeros(len(sounds), dtype=np.int64)
    for peak in peaks:
        passed = (peak - sounds > tolerance_s).sum(axis=1)
        first = np.maximum(reached, passed)
        hit = np.abs(sounds[rows, first] - peak) <= tolerance_s
        matched += hit
        reached = first + hit
    return matched
