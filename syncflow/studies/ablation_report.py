"""The ablation's tables: a row a run for programs, a row a variant (mean ± deviation over seeds) to read."""

import csv
import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.evaluation.report import number

COLUMNS = (  # heading, field, digits
    ("held-out audio loss", "loss_audio", 4),
    ("the same, another clip's video", "loss_audio_mismatched", 4),
    ("sync F1", "f1", 3),
    ("by chance", "chance_f1", 3),
    ("onsets per clip", "onsets_per_clip", 2),
    ("clips", "clips", 0),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One variant with one seed, measured on held-out clips."""

    variant: str
    seed: int
    steps: int
    loss_audio: float
    loss_audio_mismatched: float  # with another clip's video; NaN where the audio reads no video
    f1: float
    chance_f1: float
    offset_ms: float
    onsets_per_clip: float
    clips: int


def write_ablation(folder: Path, results: Sequence[Result]) -> Path:
    """`ablation.csv` and `ablation.md` in `folder`; the latter's path."""
    with (folder / "ablation.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dataclasses.asdict(results[0])))
        writer.writeheader()
        writer.writerows(dataclasses.asdict(result) for result in results)
    path = folder / "ablation.md"
    path.write_text(ablation_markdown(results), encoding="utf-8")
    return path


def ablation_markdown(results: Sequence[Result]) -> str:
    """A row a variant: mean ± sample deviation over its seeds."""
    variants = {result.variant: None for result in results}
    head = ("variant", "seeds", *(heading for heading, _, _ in COLUMNS))
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for variant in variants:
        own = [result for result in results if result.variant == variant]
        cells = [_spread([getattr(r, field) for r in own], digits) for _, field, digits in COLUMNS]
        lines.append("| " + " | ".join((variant, str(len(own)), *cells)) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], digits: int) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return ""
    mean = number(statistics.fmean(known), digits)
    return mean if len(known) == 1 else f"{mean} ± {number(statistics.stdev(known), digits)}"
