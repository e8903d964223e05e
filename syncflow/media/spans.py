"""Which windows are decoded together, and from where: one child for each stretch of a file.

A stretch never changes what a window is. Frames are chosen by their times, and the file is entered at the
time of a frame, so that no rounding to the stream's ticks moves them; audio is entered at whole minutes,
so that a window's samples depend on its start alone.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from syncflow.media.probe import MediaInfo
from syncflow.records import ClipSpec

PREROLL_S = 1.0  # decoded before a window and thrown away: codecs need a run-up
CELL_S = 60.0  # where audio is entered: the start of the file, and every minute
SEEKABLE = ("mov", "matroska")  # containers that are entered exactly; the others are decoded from the start
_SAME_GRID = 1e-4  # frames


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a file with windows in it, all on one grid of frames."""

    start_s: float  # of the first window, in the file
    places: tuple[int, ...]  # of its windows, among the starts asked for
    first_frames: tuple[int, ...]  # of each window, on the grid from `start_s` on
    video_seek_s: float
    audio_seek_s: float
    num_frames: int  # from the first window's start to the last one's end

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Frames that any window holds, as runs of (first, last)."""
        window = self.num_frames - max(self.first_frames)
        runs: list[tuple[int, int]] = []
        for first in sorted(self.first_frames):
            if runs and first <= runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], first + window - 1)
            else:
                runs.append((first, first + window - 1))
        return tuple(runs)

    def offsets(self) -> list[int]:
        """Where each window's first frame is among the frames of all `runs`."""
        before, place = {}, 0
        for first, last in self.runs:
            before |= {frame: place + frame - first for frame in range(first, last + 1)}
            place += last - first + 1
        return [before[first] for first in self.first_frames]


def plan_spans(starts_s: Sequence[float], *, info: MediaInfo, spec: ClipSpec) -> list[Span]:
    """Join the windows that one child decodes at less cost than two.

    A window joins the stretch before it when it would be decoded from a keyframe inside that stretch
    anyway, shares its grid of frames, and the whole is not over a minute.

    Args:
        starts_s: starts of the windows, seconds.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(starts_s)), key=lambda k: starts_s[k]):
        if groups and _joins(starts_s[place], [starts_s[k] for k in groups[-1]], info=info, spec=spec):
            groups[-1].append(place)
        else:
            groups.append([place])
    return [_span(group, starts_s, info=info, spec=spec) for group in groups]


def _joins(start_s: float, group: Sequence[float], *, info: MediaInfo, spec: ClipSpec) -> bool:
    off_grid = (start_s - group[0]) * spec.fps
    if abs(off_grid - round(off_grid)) > _SAME_GRID or start_s + spec.seconds - group[0] > CELL_S:
        return False
    if _audio_seek(start_s, info) != _audio_seek(group[0], info):
        return False
    entered_s = _latest(info.keyframe_times_s, _video_seek(start_s, info))
    return entered_s <= group[-1] + spec.seconds


def _span(places: Sequence[int], starts_s: Sequence[float], *, info: MediaInfo, spec: ClipSpec) -> Span:
    start_s = starts_s[places[0]]
    first_frames = tuple(round((starts_s[k] - start_s) * spec.fps) for k in places)
    return Span(
        start_s=start_s,
        places=tuple(places),
        first_frames=first_frames,
        video_seek_s=_video_seek(start_s, info),
        audio_seek_s=_audio_seek(start_s, info),
        num_frames=max(first_frames) + spec.num_frames,
    )


def _video_seek(start_s: float, info: MediaInfo) -> float:
    """The time of the last frame before the run-up: a whole number of the stream's ticks."""
    if start_s <= 2 * PREROLL_S or not info.container.startswith(SEEKABLE):
        return 0.0
    return max(0.0, _latest(info.frame_times_s, start_s - PREROLL_S))


def _audio_seek(start_s: float, info: MediaInfo) -> float:
    if not info.container.startswith(SEEKABLE):
        return 0.0
    return max(0.0, (start_s - PREROLL_S) // CELL_S * CELL_S)


def _latest(times_s: Sequence[float], before_s: float) -> float:
    """The last of rising times that is not after `before_s`; 0 if there is none."""
    place = bisect_right(times_s, before_s + 1e-9)
    return times_s[place - 1] if place else 0.0
