"""A comparison as Markdown, HTML, csv and LaTeX: the same cells, the floor, N, the protocol, every note."""

import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.evaluation.comparison import Comparison, Row, is_number
from syncflow.evaluation.protocol import ProtocolCard, require_same_protocol
from syncflow.html_page import page, paragraph, table

FILES = ("metrics.md", "metrics.html", "metrics.csv", "metrics.tex", "protocol.json", "failures.csv")
COLUMNS = (
    "metric", "title", "better", "system", "value", "low", "high", "floor", "floor_largest", "floor_clips",
    "expected", "used", "failed", "note",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of metrics.csv, as text."""

    values: dict[str, str]

    @classmethod
    def of(cls, row: Row) -> "Line":
        """A row of a comparison; what is not a number is empty."""

        def text(value: float) -> str:
            return f"{value:.6g}" if value == value else ""

        measured, floor = row.measured, row.floor
        values = (
            row.metric.name, row.metric.title, row.metric.better, row.system, text(measured.value),
            text(measured.low), text(measured.high), text(floor.mean), text(floor.largest),
            str(floor.clips or ""), str(row.expected), str(measured.used), str(row.failed), measured.note,
        )  # fmt: skip
        return cls(values=dict(zip(COLUMNS, values, strict=True)))


def write_comparison(folder: Path, comparison: Comparison, *, compare_with: Sequence[Path] = ()) -> str:
    """The tables, the protocol and the failed clips as files; returns the Markdown.

    Args:
        compare_with: output folders of earlier evaluations whose rows join the table.

    Raises:
        UserError: an earlier evaluation is of another protocol, or cannot be read.
    """
    lines = [line for earlier in compare_with for line in read_lines(earlier, comparison.card)]
    names = {line.values["system"] for line in lines} & {row.system for row in comparison.rows}
    if names:
        raise UserError(f"compare_with: {sorted(names)[0]!r} is a system of both; rename one folder")
    lines += [Line.of(row) for row in comparison.rows]
    folder.mkdir(parents=True, exist_ok=True)
    comparison.card.write(folder / "protocol.json")
    notes = [*dict.fromkeys(_notes(lines)), *comparison.remarks]
    markdown = as_markdown(lines, notes, comparison.card)
    contents = {
        "metrics.md": markdown,
        "metrics.html": as_html(lines, notes, comparison.card),
        "metrics.csv": _table(COLUMNS, [[line.values[c] for c in COLUMNS] for line in lines]),
        "metrics.tex": as_latex(lines),
        "failures.csv": _table(("system", "clip", "reason"), comparison.failures),
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return markdown


def read_lines(folder: Path, card: ProtocolCard) -> list[Line]:
    """The rows of an earlier evaluation of the same protocol.

    Raises:
        UserError: its protocol is another one, or its table cannot be read.
    """
    require_same_protocol(card, ProtocolCard.read(folder / "protocol.json"), names=("this one", str(folder)))
    path = folder / "metrics.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [Line(values={c: row[c] for c in COLUMNS}) for row in csv.DictReader(stream)]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); evaluate that folder again") from None


def as_markdown(lines: Sequence[Line], notes: Sequence[str], card: ProtocolCard) -> str:
    """A row a metric, a column a system.

    Args:
        notes: lines below the table.
    """
    head, body = _grid(lines)
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    text += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in body]
    text += ["", *_legend(card), *(f"- {note}" for note in notes)]
    return "\n".join(text) + "\n"


def as_html(lines: Sequence[Line], notes: Sequence[str], card: ProtocolCard) -> str:
    """The same table as a page of its own.

    Args:
        notes: lines below the table.
    """
    fields = html.escape(json.dumps(card.fields, indent=1, sort_keys=True))
    protocol = f"<details><summary>protocol</summary><pre>{fields}</pre></details>"
    parts = [table(*_grid(lines)), *map(paragraph, [*_legend(card), *notes]), protocol]
    return page("Metrics", parts)


def as_latex(lines: Sequence[Line]) -> str:
    """A tabular for a paper, with booktabs."""
    head, body = _grid(lines)

    def escaped(cell: str) -> str:
        arrows = cell.replace("\u2193", "$\\downarrow$").replace("\u2191", "$\\uparrow$")
        for sign in "%&#_":
            arrows = arrows.replace(sign, f"\\{sign}")
        return arrows

    rows = [" & ".join(map(escaped, cells)) + r" \\" for cells in body]
    parts = [r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}", r"\toprule"]
    parts += [" & ".join(map(escaped, head)) + r" \\", r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(parts) + "\n"


def _grid(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    systems = list(dict.fromkeys(line.values["system"] for line in lines))
    metrics = {line.values["metric"]: line.values for line in lines}
    cells = {(line.values["metric"], line.values["system"]): line.values for line in lines}
    body = []
    for name, any_row in metrics.items():
        arrow = "\u2193" if any_row["better"] == "lower" else "\u2191"
        row = [f"{any_row['title']} {arrow}"]
        row += [_cell(cells.get((name, system), {})) for system in systems]
        body.append([*row, _floor(line for (m, _), line in cells.items() if m == name)])
    counts = {line.values["system"]: line.values["expected"] for line in lines}
    return [
        "metric",
        *(f"{system} ({counts[system]} clips)" for system in systems),
        "real against real",
    ], body


def _cell(values: dict[str, str]) -> str:
    if not values.get("value"):
        return ""
    used = "" if values["used"] == values["expected"] else f", {values['used']} used"
    return f"{values['value']} ({values['low']} to {values['high']}){used}"


def _floor(rows: object) -> str:
    found = {
        f"{r['floor']} (at most {r['floor_largest']}; {r['floor_clips']} clips)": None
        for r in rows  # type: ignore[attr-defined]
        if r["floor"]
    }
    return "; ".join(found)


def _notes(lines: Sequence[Line]) -> list[str]:
    return [
        f"{line.values['title']}, {line.values['system']}: {line.values['note']}"
        for line in lines
        if line.values["note"]
    ]


def _legend(card: ProtocolCard) -> list[str]:
    return [
        f"Protocol {card.sha256[:16]} (protocol.json). In brackets: 95 % bootstrap interval over clips. Real "
        "against real: the same distance between so many real clips and the others, mean and largest of "
        "20 draws. Kernel distances do not grow with few clips; Frechet distances do.",
        "",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()


def logged(comparison: Comparison) -> dict[str, float]:
    """`<system>/<metric>` of every number, for a tracker."""
    return {f"{r.system}/{r.metric.name}": r.measured.value for r in comparison.rows if is_number(r.measured)}
