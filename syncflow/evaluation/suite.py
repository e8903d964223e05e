"""A folder of clips -> one sync score a clip, and their summary beside what chance gives.

Every clip is counted: one that cannot be read is a failed clip with its reason, never a score of 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from syncflow.errors import UserError
from syncflow.evaluation.chance import chance_f1
from syncflow.evaluation.sync import ClipEvents
from syncflow.hashing import file_sha256
from syncflow.media import MediaError, decode_window
from syncflow.media.clip_folder import MANIFEST, clip_id, clips_of_split, ids_of_split, manifest_rows
from syncflow.places import not_a_folder
from syncflow.records import ClipSpec, SyncScore

RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """The score of one clip; `failure` names the reason where there is none."""

    clip: str
    score: SyncScore | None
    chance_f1: float = math.nan  # mean F1 of its frames with the audio of every other clip
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class SystemSummary:
    """Means over the clips in which something is seen or heard; intervals are 95 % of a bootstrap."""

    system: str
    expected: int
    used: int
    failed: int
    f1: float
    f1_low: float
    f1_high: float
    chance_f1: float
    chance_f1_low: float
    chance_f1_high: float
    gain_f1: float  # F1 less chance, clip by clip
    gain_f1_low: float
    gain_f1_high: float
    offset_ms: float
    offset_spread_ms: float
    onsets_per_clip: float
    best_of: int = 1  # candidates a clip of which the one with the best F1 was kept
    note: str = ""  # why the figures are withheld

    def withheld(self, reason: str) -> "SystemSummary":
        """The same counts without any figure."""
        figures = [f.name for f in fields(self) if f.type in (float, "float")]
        return replace(self, note=reason, **dict.fromkeys(figures, math.nan))

    def silent_because(self) -> str:
        """Why clips that are all there have no sync score: no sound begins in any of them; else empty."""
        if self.onsets_per_clip == 0:
            read = self.expected - self.failed
            return f"withheld: no sound begins in any of {read} clips; videos alone have no synchrony"
        return ""


def list_clips(folder: Path, *, split: str = "all") -> list[Path]:
    """The clips that a folder should hold: its manifest's where it has one, else its media files.

    `split` chooses those whose id `<split>.txt` lists. Generated clips belong to the split of the video that
    they were made for, whose folder has that list; those made from a prompt alone belong to none and are
    all taken.

    Raises:
        UserError: no such folder, no such list, a manifest that cannot be read, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"clips {folder}: {not_a_folder(folder)}; give one that generate.py or make_demo_clips.py wrote"
        )
    has_manifest = (folder / MANIFEST).is_file()
    clips = _of_manifest(folder, split) if has_manifest else clips_of_split(folder, split)
    if not clips:
        raise UserError(
            f"clips {folder}: no clips in it; expected media files or a manifest.csv"
            + ("" if split == "all" else f", of split {split}")
        )
    return clips


def _of_manifest(folder: Path, split: str) -> list[Path]:
    listed: dict[Path, frozenset[str]] = {}

    def belongs(video: Path) -> bool:
        if video.parent not in listed:
            listed[video.parent] = frozenset(ids_of_split(video.parent, split))
        return clip_id(video) in listed[video.parent]

    return [
        folder / row["file"]
        for row in manifest_rows(folder)
        if split == "all" or not row.get("video") or belongs(Path(row["video"]))
    ]


def score_clips(
    clips: Sequence[Path],
    *,
    spec: ClipSpec,
    tolerance_s: float,
    report: Callable[[int], None] = lambda done: None,
) -> list[ClipScore]:
    """Score the first window of each clip; `report` is called with the number that are done.

    One clip is decoded at a time, and only its onsets and motion peaks are kept. A clip with the bytes of an
    earlier one has failed.
    """
    found: list[ClipEvents | str] = []
    first: dict[str, str] = {}
    for path in clips:
        found.append(_duplicate(path, first) or _events_of(path, spec))
        report(len(found))
    return score_events([path.name for path in clips], found, tolerance_s=tolerance_s)


def _duplicate(path: Path, first: dict[str, str]) -> str:
    """Why the clip is not scored, where an earlier one has its bytes; `first` keeps the names by hash."""
    try:
        content = file_sha256(path)
    except OSError:
        return ""  # decoding it tells why
    if content in first:
        return f"duplicate: the same bytes as {first[content]}"
    first[content] = path.name
    return ""


def _events_of(path: Path, spec: ClipSpec) -> ClipEvents | str:
    """The clip's events, or why it cannot be read."""
    try:
        frames, audio = decode_window(path.resolve(), start_s=0.0, spec=spec)
    except MediaError as error:
        return error.reason
    return ClipEvents.of(frames, audio, fps=spec.fps, sample_rate=spec.sample_rate)


def score_events(
    names: Sequence[str], found: Sequence[ClipEvents | str], *, tolerance_s: float
) -> list[ClipScore]:
    """A score for each clip of one system, beside chance over all of its readable clips.

    Args:
        names: of the clips.
        found: the events of each, or the reason why there are none.
        tolerance_s: farthest distance of a match, seconds.
    """
    readable = [each for each in found if isinstance(each, ClipEvents)]
    chance = iter(chance_f1(readable, tolerance_s=tolerance_s))
    return [
        ClipScore(clip=name, score=None, failure=each)
        if isinstance(each, str)
        else ClipScore(clip=name, score=each.score(tolerance_s=tolerance_s), chance_f1=float(next(chance)))
        for name, each in zip(names, found, strict=True)
    ]


def summarise(system: str, scores: Sequence[ClipScore], *, seed: int = 0, best_of: int = 1) -> SystemSummary:
    """Means and percentile bootstraps over clips; NaN where no clip has an event."""
    used = [s for s in scores if s.score is not None and not math.isnan(s.score.f1)]
    f1 = np.array([s.score.f1 for s in used if s.score is not None])
    chance = np.array([s.chance_f1 for s in used])
    compared = ~np.isnan(chance)
    offsets = np.array([s.score.offset_ms for s in scores if s.score and not math.isnan(s.score.offset_ms)])
    onsets = [s.score.num_audio_onsets for s in scores if s.score is not None]
    f1_low, f1_high = bootstrap_interval(f1, seed=seed)
    chance_low, chance_high = bootstrap_interval(chance[compared], seed=seed)
    gain = (f1 - chance)[compared]
    gain_low, gain_high = bootstrap_interval(gain, seed=seed)
    return SystemSummary(
        system=system,
        expected=len(scores),
        used=len(used),
        failed=sum(s.score is None for s in scores),
        f1=_mean(f1),
        f1_low=f1_low,
        f1_high=f1_high,
        chance_f1=_mean(chance[compared]),
        chance_f1_low=chance_low,
        chance_f1_high=chance_high,
        gain_f1=_mean(gain),
        gain_f1_low=gain_low,
        gain_f1_high=gain_high,
        offset_ms=_mean(offsets),
        offset_spread_ms=float(offsets.std()) if len(offsets) else math.nan,
        onsets_per_clip=_mean(np.array(onsets, dtype=float)),
        best_of=best_of,
    )


def bootstrap_interval(values: np.ndarray, *, seed: int) -> tuple[float, float]:
    """The middle 95 % of the means of resamples of `values`; NaN without any."""
    if not len(values):
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
