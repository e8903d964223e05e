"""The same system at several checkpoints: mean and deviation of its metrics, not of its weights.

Section 4 reports Greatest Hits so, over the last three checkpoints.
"""

import csv
import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.evaluation.suite import SystemSummary

FIGURES = ("f1", "chance_f1", "gain_f1", "offset_ms", "onsets_per_clip")


@dataclass(frozen=True, kw_only=True)
class MeanFigure:
    """One figure over the folders in which it could be measured."""

    figure: str
    folders: int
    mean: float
    deviation: float  # of the sample; NaN for one folder


def mean_over(summaries: Sequence[SystemSummary]) -> list[MeanFigure]:
    """Mean and sample deviation of each figure; one that no folder has is left out."""
    found = []
    for figure in FIGURES:
        values = [getattr(summary, figure) for summary in summaries]
        known = [value for value in values if math.isfinite(value)]
        if known:
            deviation = statistics.stdev(known) if len(known) > 1 else math.nan
            mean = statistics.fmean(known)
            found.append(MeanFigure(figure=figure, folders=len(known), mean=mean, deviation=deviation))
    return found


def mean_markdown(name: str, figures: Sequence[MeanFigure]) -> str:
    """A table with a row a figure."""
    lines = [f"**{name}**, mean ± sample deviation over the folders above:", ""]
    lines += ["| figure | folders | mean ± deviation |", "|---|---|---|"]
    for each in figures:
        spread = "" if math.isnan(each.deviation) else f" ± {each.deviation:.3g}"
        lines.append(f"| {each.figure} | {each.folders} | {each.mean:.4g}{spread} |")
    return "\n".join(lines) + "\n"


def write_mean(path: Path, name: str, figures: Sequence[MeanFigure]) -> None:
    """A row a figure, for programs."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["system", *(field.name for field in dataclasses.fields(MeanFigure))])
        writer.writerows([name, *dataclasses.astuple(each)] for each in figures)
