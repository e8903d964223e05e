"""Which decoded frames are shown on a grid of windows, and how much of that the file really gave.

Frame k of the grid is the last source frame whose time is before (k + 1/2) / fps. The times of all frames
are known from the packets before anything is decoded, so what is shown can be compared with what was to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syncflow.media.spans import Span

_MARGIN_S = 5e-6  # of times that go through ffmpeg, in whole microseconds
_MOST_TERMS = 400  # of an expression
_SPARE_FRAMES = 64
_LATE_S = 0.25
_ROUNDING = 0.5  # of a packet: lengths are rounded to ticks, and those of Vorbis at changes of its block


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which frames ffmpeg passes on."""

    expression: str  # of its `select` filter; times from the stretch's start
    most_frames: int


def keep_expression(frame_times_s: Sequence[float], *, span: Span, fps: float) -> Kept:
    """Keep the frames that may be shown; few others, for each is resized and carried.

    A frame is shown unless the next one comes within the same step of the grid. It is kept when a frame
    would come `step_s` later that does not; those before a longer pause are named one by one.

    Args:
        frame_times_s: times of the video's frames, seconds.
    """
    times = np.asarray(frame_times_s) - span.start_s
    edges = [(_first_shown(times, first, fps), (last + 0.5) / fps) for first, last in span.runs]
    inside = np.zeros(len(times), bool)
    for low, high in edges:
        inside |= (times >= low) & (times < high)
    following = np.append(times[1:], np.inf)
    shown = inside & (_step_of(following, fps) > _step_of(times, fps))
    pauses = np.diff(times[inside]) if inside.sum() > 1 else np.zeros(1)
    best: tuple[int, float, np.ndarray] | None = None
    for step_s in {float(np.median(pauses)), 1.5 * float(np.median(pauses)), float(pauses.max())}:
        passes = _step_of(times + step_s + _MARGIN_S, fps) > _step_of(times, fps)
        named = times[shown & ~passes]
        kept = int((inside & passes).sum()) + len(named)
        if len(named) <= _MOST_TERMS and (best is None or kept < best[0]):
            best = kept, step_s, named
    assert best is not None, "the longest pause names no frame"
    kept, step_s, named = best
    ranges = "+".join(f"between(t,{low - _MARGIN_S:.6f},{high:.6f})" for low, high in edges)
    rule = f"gt(floor((t+{step_s + _MARGIN_S:.6f})*{fps}+0.5),floor(t*{fps}+0.5))"
    rule += "".join(f"+between(t,{time - _MARGIN_S:.6f},{time + _MARGIN_S:.6f})" for time in named)
    slots = sum(last - first + 1 for first, last in span.runs)
    return Kept(expression=f"({ranges})*({rule})", most_frames=2 * max(kept, slots) + _SPARE_FRAMES)


def _first_shown(times: np.ndarray, first: int, fps: float) -> float:
    """The time of the frame on show at a run's first step; the run's start where there is none before."""
    place = int(np.searchsorted(times, (first + 0.5) / fps, side="left")) - 1
    return float(times[place]) if place >= 0 else (first - 0.5) / fps


def _step_of(times: np.ndarray, fps: float) -> np.ndarray:
    return np.floor(times * fps + 0.5)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """For each frame of a grid, which decoded frame is shown, and whether it is the one that should be."""

    places: np.ndarray  # int64 f, among the decoded frames
    decoded: np.ndarray  # bool f


def shown_frames(
    times_s: np.ndarray,
    *,
    steps: np.ndarray,
    fps: float,
    expected_s: np.ndarray,
    lost_s: np.ndarray,
    corrupt_s: np.ndarray,
    keyframes_s: np.ndarray,
) -> Shown:
    """Choose a decoded frame for each of `steps`.

    A step is decoded when no more than one frame is missing between the frame that is shown and the one that
    should be (some packets carry none), and that one is neither lost nor damaged. A damaged frame damages
    all after it up to the next keyframe.

    Args:
        times_s: of the decoded frames, rising; there is at least one.
        steps: of the grid.
        expected_s: times of the frames that the packets promise.
        lost_s: of those whose packets hold nothing but zeros.
        corrupt_s: of decoded frames that the decoder calls corrupt.
        keyframes_s: times of the keyframes. All times are from the grid's start.
    """
    until_s = (steps + 0.5) / fps
    places = np.maximum(np.searchsorted(times_s, until_s - _MARGIN_S / 2, side="left") - 1, 0)
    last = np.searchsorted(expected_s, until_s - _MARGIN_S / 2, side="left") - 1
    shown = np.searchsorted(expected_s, times_s[places] + _MARGIN_S, side="right") - 1
    wanted_s = expected_s[np.maximum(last, 0)]
    decoded = (last - shown < 2) & (wanted_s - times_s[places] < _LATE_S)
    decoded &= ~_among(wanted_s, lost_s)
    for start_s in corrupt_s:
        after = np.searchsorted(keyframes_s, start_s + _MARGIN_S, side="right")
        end_s = keyframes_s[after] if after < len(keyframes_s) else np.inf
        decoded &= (times_s[places] < start_s - _MARGIN_S) | (times_s[places] >= end_s - _MARGIN_S)
    return Shown(places=places, decoded=decoded)


def _among(times_s: np.ndarray, others_s: np.ndarray) -> np.ndarray:
    if not len(others_s):
        return np.zeros(len(times_s), bool)
    return np.abs(times_s[:, None] - others_s[None, :]).min(axis=1) < _MARGIN_S


def decoded_share(packets_s: np.ndarray, decoded_s: np.ndarray, *, start_s: float, end_s: float) -> float:
    """The share of a stretch of audio that was decoded: packets from which a frame came out.

    Args:
        end_s: end of the stretch, seconds.
        packets_s: float64 p 2: start and length of each packet, by start.
        decoded_s: starts of the frames that were decoded. All times are in the file.
    """
    starts, ends = packets_s[:, 0], packets_s[:, 0] + packets_s[:, 1]
    following = np.append(starts[1:], np.inf)
    ends = np.where(following - ends < _ROUNDING * packets_s[:, 1], np.maximum(ends, following), ends)
    ends[-1:] = starts[-1:] + packets_s[-1:, 1]
    near = (ends > start_s) & (starts < end_s)
    starts, ends = starts[near], ends[near]
    slack = np.minimum(0.25 * (ends - starts), 0.005)
    first = np.searchsorted(decoded_s, starts - slack, side="left")
    after = np.searchsorted(decoded_s, ends - slack, side="left")
    given = after > first
    covered, reached = 0.0, start_s
    for low, high in zip(starts[given], ends[given], strict=True):  # packets may overlap
        low, high = max(low, reached), min(high, end_s)
        if high > low:
            covered, reached = covered + high - low, high
    return round(min(1.0, covered / (end_s - start_s)), 6)
