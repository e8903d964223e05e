"""A table: what was measured of each row, beside the paper's own figures, which are marked as the paper's."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from syncflow.config import load_config, settings_of
from syncflow.errors import UserError
from syncflow.evaluation.protocol import ProtocolCard
from syncflow.evaluation.suite import bootstrap_interval
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.files import whole_file
from syncflow.studies.paper_tables import NAMES, PAPER
from syncflow.studies.tables.rows import TITLES, TableRow

SYNC = "sync F1 (95 %)"
CHANCE = "by chance"
EVENTS = "with events"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What was measured of one row."""

    protocol: ProtocolCard
    cells: Mapping[str, str]  # by column
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Page:
    """One table."""

    title: str
    columns: list[str]  # measured
    paper: list[str]  # the paper's metrics
    rows: list[tuple[str, Mapping[str, str], Mapping[str, str]]]  # setting, measured, the paper's
    notes: list[str] = field(default_factory=list)


def read_scores(folder: Path) -> Scored:
    """The figures of one row, over its seeds.

    Raises:
        UserError: they cannot be read.
    """
    try:
        with (folder / "scores.csv").open(newline="", encoding="utf-8") as stream:
            clips = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(f"{folder}: no scores ({error.strerror}); run reproduce_tables.py again") from None
    withheld = _withheld(folder)
    cells = {} if withheld else _sync(clips)
    config = load_config(EvaluateConfig, folder / "resolved.yaml")
    fields: dict[str, Any] = {"settings": settings_of(config)}
    notes = [f"sync score {reason}" for reason in withheld]
    if (folder / "metrics.csv").is_file():
        fields["metrics"] = dict(ProtocolCard.read(folder / "protocol.json").fields)
        cells |= _learned(folder / "metrics.csv", notes)
    failed = sum(bool(clip["failure"]) for clip in clips)
    if failed:
        notes.append(f"{failed} of {len(clips)} clips failed")
    return Scored(protocol=ProtocolCard(json.loads(json.dumps(fields))), cells=cells, notes=tuple(notes))


def _withheld(folder: Path) -> list[str]:
    """Why evaluate.py gave no sync score for a seed; the mean over the others would be another figure."""
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as stream:
        return list(dict.fromkeys(row["note"] for row in csv.DictReader(stream) if row["note"]))


def _sync(clips: Sequence[Mapping[str, str]]) -> dict[str, str]:
    used = sum(bool(clip["f1"]) and math.isfinite(float(clip["f1"])) for clip in clips)
    return {
        EVENTS: f"{used} / {len(clips)}",
        SYNC: _pooled(clips, "f1", interval=True),
        CHANCE: _pooled(clips, "chance_f1", interval=False),
    }


def _pooled(clips: Sequence[Mapping[str, str]], name: str, *, interval: bool) -> str:
    """Mean over clips of each clip's mean over the seeds; the interval is a bootstrap over clips."""
    by_clip: dict[str, list[float]] = {}
    for clip in clips:
        value = float(clip[name]) if clip[name] else math.nan
        if math.isfinite(value):
            by_clip.setdefault(clip["clip"], []).append(value)
    values = np.array([statistics.fmean(each) for each in by_clip.values()])
    if not len(values):
        return ""
    low, high = bootstrap_interval(values, seed=0)
    return f"{values.mean():.3f}" + (f" ({low:.3f} to {high:.3f})" if interval else "")


def _learned(path: Path, notes: list[str]) -> dict[str, str]:
    """Each metric: the mean over the seeds, and the lowest and highest of them."""
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    cells = {}
    for title in dict.fromkeys(line["title"] for line in lines):
        own = [line for line in lines if line["title"] == title]
        values = [float(line["value"]) for line in own if line["value"]]
        if len(values) == len(own):
            several = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
            cells[title] = f"{statistics.fmean(values):.4g}{several}"
        else:
            notes += dict.fromkeys(f"{title}: {line['note']}" for line in own if line["note"])
    return cells


def page_of(rows: Sequence[TableRow], scored: Mapping[str, Scored], failed: Mapping[str, str]) -> Page:
    """A table of rows that were measured by one protocol; cells of another one are withheld, with a note.

    Args:
        scored: by system.
        failed: why a row's jobs did not end, by system.
    """
    title = TITLES[rows[0].table]
    figures = {
        setting: dict(zip(names, values, strict=True)) for t, setting, names, values in PAPER if t == title
    }
    held = {name for each in figures.values() for name in each}
    page = Page(title=title, columns=[], paper=[name for name in NAMES if name in held], rows=[])
    first = next((scored[row.system] for row in rows if row.system in scored), None)
    for row in rows:
        cells: Mapping[str, str] = {}
        page.notes += [f"{row.setting}: {row.note}"] if row.note else []
        if row.system in failed or row.reason:
            page.notes.append(f"{row.setting}: not made; {failed.get(row.system) or row.reason}")
        elif row.system in scored:
            found = scored[row.system]
            differences = found.protocol.differences(first.protocol) if first else []
            if differences:
                name, own, others = differences[0]
                page.notes.append(
                    f"{row.setting}: withheld, its protocol differs: {name} is {own!r}, and {others!r} "
                    "in the first row"
                )
            else:
                cells = found.cells
            page.notes += [f"{row.setting}: {note}" for note in found.notes]
        else:
            page.notes.append(f"{row.setting}: not measured yet")
        page.columns += [name for name in cells if name not in page.columns]
        paper = {name: f"{value:g}" for name, value in figures.get(row.setting, {}).items()}
        page.rows.append((row.setting, cells, paper))
    return page


def as_markdown(page: Page) -> str:
    """Measured columns, then the paper's."""
    head = ["setting", *page.columns, *(f"paper: {NAMES[name]}" for name in page.paper)]
    lines = [f"## {page.title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for setting, cells, paper in page.rows:
        row = [setting, *(cells.get(c, "") for c in page.columns), *(paper.get(p, "") for p in page.paper)]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |")
    told = (
        "Columns that begin with `paper:` are the paper's own figures: other weights, clips and extractors."
    )
    return "\n".join([*lines, "", told, "", *(f"- {note}" for note in page.notes)]) + "\n"


def write_page(folder: Path, name: str, page: Page) -> Path:
    """`<name>.md` for people and `<name>.csv` for programs; the former."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["setting", *page.columns, *(f"paper {name}" for name in page.paper)])
    for setting, cells, paper in page.rows:
        writer.writerow(
            [setting, *(cells.get(c, "") for c in page.columns), *(paper.get(p, "") for p in page.paper)]
        )
    for suffix, content in ((".csv", text.getvalue()), (".md", as_markdown(page))):
        with whole_file(folder / f"{name}{suffix}") as stream:
            stream.write(content.encode())
    return folder / f"{name}.md"
