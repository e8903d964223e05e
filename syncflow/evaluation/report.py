"""Scores as files: a row a clip, a row a system, and the table that people read."""

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from syncflow.evaluation.suite import ClipScore, SystemSummary

HEADINGS = (
    "system",
    "clips used / expected",
    "sync F1 (95 % interval)",
    "by chance (95 % interval)",
    "above chance (95 % interval)",
    "offset, ms",
    "onsets a clip",
)


def summary_markdown(summaries: Sequence[SystemSummary], *, tolerance_s: float) -> str:
    """The table of systems, with the protocol under it."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    for s in summaries:
        cells = (
            s.system if s.best_of == 1 else f"{s.system} (best of {s.best_of} by this score)",
            f"{s.used} / {s.expected}" + (f" ({s.failed} failed)" if s.failed else ""),
            _with_interval(s.f1, s.f1_low, s.f1_high),
            _with_interval(s.chance_f1, s.chance_f1_low, s.chance_f1_high),
            _with_interval(s.gain_f1, s.gain_f1_low, s.gain_f1_high),
            f"{number(s.offset_ms, 1)} ± {number(s.offset_spread_ms, 1)}",
            number(s.onsets_per_clip, 2),
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"{s.system}: {s.note}\n" for s in summaries if s.note)]
    lines += [
        f"Sync F1: audio onsets against motion peaks, matched one to one within {tolerance_s * 1000:.0f} ms. "
        "Offset: audio minus video over the matched pairs, mean ± deviation over clips. By chance: the "
        "frames of each clip with the audio of every other clip of its system. Above chance: the difference, "
        "clip by clip. A clip in which nothing is heard or seen is not used. The score is for clips of "
        "separate impacts, whose motion ends as the sound starts (drumsticks, taps, drops). Of other clips "
        "real ones can be at chance as well, so score real clips of the same kind beside yours.",
    ]
    return "\n".join(lines) + "\n"


def _with_interval(value: float, low: float, high: float) -> str:
    """A mean with its interval; blank when it could not be measured."""
    return "" if math.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def number(value: float, digits: int) -> str:
    """A figure for a table; blank when it could not be measured."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def write_scores(folder: Path, scores: Mapping[str, Sequence[ClipScore]]) -> Path:
    """`scores.csv`: a row a clip of every system, failed ones with their reason."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scores.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["system", "clip", "f1", "precision", "recall", "offset_ms", "chance_f1", "failure"])
        for system, rows in scores.items():
            for row in rows:
                s = row.score
                figures = ["", "", "", ""] if s is None else [s.f1, s.precision, s.recall, s.offset_ms]
                writer.writerow([system, row.clip, *figures, "" if s is None else row.chance_f1, row.failure])
    return path


def write_summary(folder: Path, summaries: Sequence[SystemSummary], *, tolerance_s: float) -> Path:
    """`summary.csv` for programs and `summary.md` for people."""
    with (folder / "summary.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [f.name for f in dataclasses.fields(SystemSummary)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(summary) for summary in summaries)
    path = folder / "summary.md"
    path.write_text(summary_markdown(summaries, tolerance_s=tolerance_s), encoding="utf-8")
    return path
