"""A folder of clips -> one sync score a clip, and their summary beside what chance gives.

Every clip is counted: one that cannot be read is a failed clip with its reason, never a score of 0.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncflow.errors import UserError
from syncflow.evaluation.sync import sync_score
from syncflow.media import MediaError, decode_window
from syncflow.records import ClipSpec, SyncScore

CLIP_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov")


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """What one clip got; `failure` names the reason where there is no score."""

    clip: str
    score: SyncScore | None
    chance: SyncScore | None  # this clip's picture with the next clip's sound
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class SystemSummary:
    """Means over the clips in which something is seen or heard, with a 95 % bootstrap interval of F1."""

    system: str
    expected: int
    used: int
    failed: int
    f1: float
    f1_low: float
    f1_high: float
    chance_f1: float
    offset_ms: float
    offset_spread_ms: float
    onsets_per_clip: float


def list_clips(folder: Path, *, split: str = "all") -> list[Path]:
    """The clips that a folder should hold: its manifest's where it has one, else its media files.

    `split` chooses those whose file name begins with an id of `<split>.txt`, where a folder has such a list.

    Raises:
        UserError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"clips {folder}: no such folder; give one that generate.py or make_demo_clips.py wrote"
        )
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        with manifest.open(newline="", encoding="utf-8") as stream:
            clips = [folder / row["file"] for row in csv.DictReader(stream)]
    else:
        clips = sorted(p for p in folder.iterdir() if p.suffix.lower() in CLIP_SUFFIXES)
    listed = folder / f"{split}.txt"
    if split != "all" and listed.is_file():
        ids = tuple(listed.read_text(encoding="utf-8").split())
        clips = [path for path in clips if ids and path.name.startswith(ids)]
    if not clips:
        raise UserError(
            f"clips {folder}: no clips in it; expected {', '.join(CLIP_SUFFIXES)} or a manifest.csv"
        )
    return clips


def score_clips(
    clips: Sequence[Path],
    *,
    spec: ClipSpec,
    tolerance_s: float,
    report: Callable[[int], None] = lambda done: None,
) -> list[ClipScore]:
    """Score the first window of each clip; `report` is called with the number that are done."""
    decoded: list[tuple[np.ndarray, np.ndarray] | str] = []
    for path in clips:
        try:
            decoded.append(decode_window(path.resolve(), start_s=0.0, spec=spec))
        except MediaError as error:
            decoded.append(error.reason)
        report(len(decoded))
    readable = [i for i, item in enumerate(decoded) if not isinstance(item, str)]
    following = dict(zip(readable, readable[1:] + readable[:1], strict=True))

    def score(picture: int, sound: int) -> SyncScore:
        seen, heard = decoded[picture], decoded[sound]
        assert not isinstance(seen, str) and not isinstance(heard, str), "only readable clips are scored"
        frames, audio = seen[0], heard[1]
        return sync_score(
            frames,
            audio,
            fps=spec.fps,
            sample_rate=spec.sample_rate,
            tolerance_s=tolerance_s,  # type: ignore[arg-type]
        )

    return [
        ClipScore(clip=path.name, score=None, chance=None, failure=item)
        if isinstance(item, str)
        else ClipScore(clip=path.name, score=score(i, i), chance=score(i, following[i]))
        for i, (path, item) in enumerate(zip(clips, decoded, strict=True))
    ]


def summarise(system: str, scores: Sequence[ClipScore], *, seed: int = 0) -> SystemSummary:
    """Means and a percentile bootstrap; NaN where no clip has an event."""
    f1 = np.array([s.score.f1 for s in scores if s.score is not None and not math.isnan(s.score.f1)])
    chance = np.array([s.chance.f1 for s in scores if s.chance is not None and not math.isnan(s.chance.f1)])
    offsets = np.array([s.score.offset_ms for s in scores if s.score and not math.isnan(s.score.offset_ms)])
    onsets = [s.score.num_audio_onsets for s in scores if s.score is not None]
    draws = np.random.default_rng(seed).integers(0, max(len(f1), 1), size=(1000, max(len(f1), 1)))
    low, high = np.percentile(f1[draws].mean(1), [2.5, 97.5]) if len(f1) else (math.nan, math.nan)
    return SystemSummary(
        system=system,
        expected=len(scores),
        used=len(f1),
        failed=sum(s.score is None for s in scores),
        f1=_mean(f1),
        f1_low=float(low),
        f1_high=float(high),
        chance_f1=_mean(chance),
        offset_ms=_mean(offsets),
        offset_spread_ms=float(offsets.std()) if len(offsets) else math.nan,
        onsets_per_clip=_mean(np.array(onsets, dtype=float)),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
