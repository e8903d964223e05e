"""Curves as a table of verdicts, a csv file of every value, and a figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from validity.curves import Curve, Floor
from validity.damages import DAMAGES

SYNCHRONY = ("sync_f1", "av_align", "av_align_javisbench")


class Shown(Protocol):
    """What of a metric is printed."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SyncMetric:
    """Our sync score, which the catalogue of learned metrics does not hold."""

    name: str = "sync_f1"
    title: str = "sync F1"
    better: Literal["lower", "higher"] = "higher"


SYNC = SyncMetric()
COLOURS = ("tab:blue", "tab:orange", "tab:green")  # of the collections


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All curves of one collection of clips."""

    name: str
    clips: int  # that were damaged; as many others are the reference
    floors: Mapping[str, Floor]  # by metric, of set distances
    curves: Mapping[tuple[str, str], Curve]  # by metric and damage

    def has(self, metric: Shown) -> bool:
        """Whether the metric was tried on it."""
        return (metric.name, DAMAGES[0].name) in self.curves


def verdicts_markdown(collections: Sequence[Collection], metrics: Sequence[Shown]) -> str:
    """A table of verdicts for each collection, the floors, and the synchrony measures at every level."""
    parts = []
    for collection in collections:
        shown = [metric for metric in metrics if collection.has(metric)]
        parts.append(f"Verdicts on {collection.clips} {collection.name} clips:\n")
        parts.append(_rows(["metric", *(damage.name for damage in DAMAGES)]))
        for metric in shown:
            verdicts = [collection.curves[metric.name, damage.name].verdict for damage in DAMAGES]
            parts.append(_row([metric.title, *verdicts]))
        parts.append("")
    with_floors = [collection for collection in collections if collection.floors]
    parts.append("Real against real:\n")
    parts.append(_rows(["metric", *(f"{c.name}: mean, largest" for c in with_floors)]))
    for metric in metrics:
        floors = [c.floors[metric.name] for c in with_floors if metric.name in c.floors]
        if floors:
            parts.append(_row([metric.title, *(f"{f.mean:.3g}, {f.largest:.3g}" for f in floors)]))
    parts.append("\nMeasures of synchrony at every level:\n")
    pairs = [(m, c) for m in metrics if m.name in SYNCHRONY for c in collections]
    parts.append(_rows(["damage", *(f"{metric.title}, {collection.name}" for metric, collection in pairs)]))
    for damage in DAMAGES:
        curves = [collection.curves[metric.name, damage.name] for metric, collection in pairs]
        for place, label in enumerate(curves[0].labels):
            if place or damage is DAMAGES[0]:
                name = f"{damage.name}, {label}" if place else "none"
                parts.append(_row([name, *(f"{curve.responses[place].mean:.3f}" for curve in curves)]))
    return "\n".join(parts) + "\n"


def values_csv(collections: Sequence[Collection], metrics: Sequence[Shown]) -> str:
    """Every value: collection, metric, damage, level, value, clips with a value, worse than none or not."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("collection", "metric", "damage", "level", "value", "values", "worse_than_none"))
    for collection in collections:
        for metric in filter(collection.has, metrics):
            for damage in DAMAGES:
                curve = collection.curves[metric.name, damage.name]
                for place, (label, response) in enumerate(zip(curve.labels, curve.responses, strict=True)):
                    count = int(np.isfinite(response.values).sum())
                    told = (label, f"{response.mean:.6g}", count, curve.worse(0, place) if place else 0)
                    writer.writerow((collection.name, metric.name, damage.name, *told))
    return table.getvalue()


def draw(collections: Sequence[Collection], metrics: Sequence[Shown], path: Path) -> None:
    """A panel for each metric and damage, a line for each collection; KL in one direction only."""
    metrics = [metric for metric in metrics if not metric.name.endswith("_reverse")]
    rows, columns = len(metrics), len(DAMAGES)
    figure = Figure(figsize=(1.5 * columns, 1.05 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharey="row", squeeze=False)
    for panel_row, metric in zip(panels, metrics, strict=True):
        for axes, damage in zip(panel_row, DAMAGES, strict=True):
            labels: list[str] = []
            for colour, collection in zip(COLOURS, collections, strict=False):
                if not collection.has(metric):
                    continue
                curve = collection.curves[metric.name, damage.name]
                axes.plot([each.mean for each in curve.responses], color=colour, marker=".", linewidth=1)
                if curve.floor is not None:
                    axes.axhline(curve.floor.largest, color=colour, linewidth=0.6, linestyle=":")
                labels = [label.split()[0] for label in curve.labels]
            axes.set_xticks(range(len(labels)), labels if metric is metrics[-1] else [""] * len(labels))
            axes.tick_params(labelsize=6)
            if metric is metrics[0]:
                axes.set_title(f"{damage.name}, {damage.unit}", fontsize=7)
        panel_row[0].set_ylabel(metric.title.replace(" (", "\n("), fontsize=6)
    told = ", ".join(f"{c.name} {colour[4:]}" for c, colour in zip(collections, COLOURS, strict=False))
    figure.suptitle(f"{told}; dotted: largest of real against real", fontsize=8)
    figure.savefig(path, dpi=90)


def _rows(titles: Sequence[str]) -> str:
    return f"{_row(titles)}\n{'|---' * len(titles)}|"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
