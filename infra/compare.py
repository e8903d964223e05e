"""Runs of an MLflow store side by side: what differs in their settings, their metrics, their curves."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.compare_config import CompareConfig
from infra.tracking import client
from syncflow.errors import UserError

Curve = list[tuple[int, float]]  # step, value
LOSSES = (
    "loss",
    "loss_video",
    "loss_audio",
    "validation/loss",
    "validation/loss_video",
    "validation/loss_audio",
)
LIKE_LOSS = ("loss", "offset")  # the lower the better


@dataclass(frozen=True, kw_only=True)
class TrackedCurves:
    """One run: its settings, and every metric over the steps."""

    name: str
    status: str
    params: dict[str, str]
    curves: dict[str, Curve]


def compare_runs(config: CompareConfig) -> Path:
    """Write the comparison, print its table, and return the Markdown file.

    Raises:
        UserError: no store, no experiment or no run of the name.
    """
    runs = read_runs(config)
    config.output.mkdir(parents=True, exist_ok=True)
    pictures = draw_curves(runs, config.output)
    tables = [
        ("Settings that differ", *differing_settings(runs)),
        ("Metrics: last (best)", *metric_rows(runs)),
    ]
    text = "# Comparison of runs\n\n" + "\n\n".join(_markdown(*table) for table in tables)
    text += "".join(f"\n\n![{path.stem}]({path.name})" for path in pictures) + "\n"
    report = config.output / "comparison.md"
    report.write_text(text, encoding="utf-8")
    (config.output / "comparison.html").write_text(_html(tables, pictures), encoding="utf-8")
    _print(tables)
    print(f"comparison in {report} and {report.with_suffix('.html').name}", flush=True)
    return report


def read_runs(config: CompareConfig) -> list[TrackedCurves]:
    """The chosen runs that hold metrics, the oldest first."""
    place = config.tracking_uri.removeprefix("sqlite:///")
    if place != config.tracking_uri and not Path(place).is_file():
        raise UserError(f"tracking_uri {config.tracking_uri}: no such file; give the store of earlier runs")
    store = client(config.tracking_uri)
    experiments = [e for e in store.search_experiments() if config.experiment in ("", e.name)]
    if not experiments:
        raise UserError(f"experiment {config.experiment!r}: not in {config.tracking_uri}")
    found = store.search_runs([e.experiment_id for e in experiments], order_by=["attributes.start_time ASC"])
    chosen = [r for r in found if not config.runs or {r.info.run_id, r.info.run_name} & set(config.runs)]
    missing = set(config.runs) - {n for r in chosen for n in (r.info.run_id, r.info.run_name)}
    if missing:
        known = ", ".join(sorted({r.info.run_name for r in found})) or "none"
        raise UserError(f"runs {', '.join(sorted(missing))}: not in {config.tracking_uri}; it has {known}")
    runs = [
        TrackedCurves(
            name=run.info.run_name,
            status=run.info.status,
            params=run.data.params,
            curves={name: _curve(store, run.info.run_id, name) for name in run.data.metrics},
        )
        for run in chosen
        if run.data.metrics
    ]
    if not runs:
        raise UserError(f"{config.tracking_uri}: no run with metrics; train or evaluate first")
    return runs


def differing_settings(runs: Sequence[TrackedCurves]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the settings that are not the same in all runs."""
    names = sorted({name for run in runs for name in run.params})
    rows = [[name, *(run.params.get(name, "") for run in runs)] for name in names]
    return ["setting", *(run.name for run in runs)], [row for row in rows if len(set(row[1:])) > 1]


def metric_rows(runs: Sequence[TrackedCurves]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the metrics, by time bucket left out: the last value and the best."""
    names = sorted({name for run in runs for name in run.curves if "by_time" not in name})
    rows = []
    for name in names:
        best = min if any(part in name for part in LIKE_LOSS) else max
        cells = []
        for run in runs:
            values = [value for _, value in run.curves.get(name, []) if math.isfinite(value)]
            cells.append(f"{values[-1]:.4g} ({best(values):.4g})" if values else "")
        rows.append([name, *cells])
    return ["metric", *(run.name for run in runs)], rows


def draw_curves(runs: Sequence[TrackedCurves], folder: Path) -> list[Path]:
    """A PNG for each loss that a run has more than one point of."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures = []
    for name in LOSSES:
        having = [run for run in runs if len(run.curves.get(name, [])) > 1]
        if not having:
            continue
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for run in having:
            axes.plot(*zip(*run.curves[name], strict=True), label=run.name)
        axes.set(xlabel="step", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
        pictures.append(folder / f"{name.replace('/', '_')}.png")
        figure.savefig(pictures[-1], dpi=120)
        pyplot.close(figure)
    return pictures


def _curve(store, run_id: str, name: str) -> Curve:
    points = {point.step: point.value for point in store.get_metric_history(run_id, name)}
    return sorted(points.items())


def _markdown(title: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [f"## {title}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows])


def _html(tables: Sequence[tuple[str, list[str], list[list[str]]]], pictures: Sequence[Path]) -> str:
    parts = ["<!doctype html><meta charset=utf-8><title>Comparison of runs</title>"]
    parts.append("<style>body{font:14px sans-serif;margin:2em}td,th{padding:2px 8px;text-align:left}</style>")
    for title, header, rows in tables:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>")
    parts += [f'<p><img src="{path.name}" alt="{path.stem}"></p>' for path in pictures]
    return "\n".join(parts) + "\n"


def _print(tables: Sequence[tuple[str, list[str], list[list[str]]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    for title, header, rows in tables:
        table = Table(title=title)
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
