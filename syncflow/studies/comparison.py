"""Tracked runs side by side: what differs in their settings, their metrics, their curves."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from syncflow.files import require_writable
from syncflow.studies.compared_runs import ComparedRun, Curve, RunGroup, check_comparable, grouped
from syncflow.studies.comparison_config import CompareConfig
from syncflow.studies.comparison_page import Clips, Section, Table, draw_curve, print_tables, write_pages
from syncflow.studies.paper_tables import paper_rows

LOSSES = (
    "loss",
    "loss_video",
    "loss_audio",
    "validation/loss",
    "validation/loss_video",
    "validation/loss_audio",
)
THE_LOWER_THE_BETTER = ("loss", "offset", "fad", "fvd", "kl")
CLIPS = 2  # per step and run
SHOWN = 4  # values of a setting that a group is shown with


def compare_runs(config: CompareConfig, runs: Sequence[ComparedRun]) -> Path:
    """Write the comparison, stage by stage, print its tables, and return the Markdown file.

    Raises:
        UserError: as `check_comparable` and `grouped`.
    """
    check_comparable(runs, allowed=config.allow_different)
    require_writable(config.output)
    sections = []
    for stage in dict.fromkeys(run.stage for run in runs):
        groups = grouped([run for run in runs if run.stage == stage], config.group_by)
        tables = [differing_settings(groups), metric_table(groups)]
        if paper := paper_rows({name for group in groups for name in _metrics(group)}):
            tables.append(paper)
        figures = draw_losses(groups, config.output, prefix=stage)
        clips = clips_over_time(groups, steps=config.sample_steps) if config.sample_steps else []
        title = f"Stage {stage}" if stage else "Runs"
        sections.append(Section(title=title, tables=tables, figures=figures, clips=clips))
    report = write_pages(config.output, sections)
    print_tables(sections)
    print(f"comparison in {report} and {report.with_suffix('.html').name}", flush=True)
    return report


def differing_settings(groups: Sequence[RunGroup]) -> Table:
    """The settings that are not the same in all groups."""
    names = sorted({name for group in groups for run in group.runs for name in run.params})
    rows = []
    for name in names:
        sets = [tuple(dict.fromkeys(run.params.get(name, "") for run in group.runs)) for group in groups]
        if len({frozenset(values) for values in sets}) > 1:
            rows.append((name, *map(_shown, sets)))
    return Table(
        title="Settings that differ", header=("setting", *(group.name for group in groups)), rows=rows
    )


def metric_table(groups: Sequence[RunGroup]) -> Table:
    """The metrics, by time bucket left out: the last value and the best, mean ± deviation over a group."""
    names = sorted({name for group in groups for name in _metrics(group) if "by_time" not in name})
    rows = []
    for name in names:
        best = min if any(part in name for part in THE_LOWER_THE_BETTER) else max
        cells = []
        for group in groups:
            each = [
                [value for _, value in run.curves.get(name, []) if math.isfinite(value)] for run in group.runs
            ]
            each = [values for values in each if values]
            last, top = _spread([values[-1] for values in each]), _spread([best(values) for values in each])
            cells.append(f"{last} ({top})" if each else "")
        rows.append((name, *cells))
    header = ("metric", *(group.name for group in groups))
    return Table(title="Metrics: last (best)", header=header, rows=rows)


def draw_losses(groups: Sequence[RunGroup], folder: Path, *, prefix: str) -> list[Path]:
    """A PNG for each loss that a run has more than one point of.

    Args:
        prefix: of the losses' names.
    """
    figures = []
    for name in LOSSES:
        curves = {
            g.name: [run.curves[name] for run in g.runs if len(run.curves.get(name, [])) > 1] for g in groups
        }
        bands = {group: band(each) for group, each in curves.items() if each}
        if bands:
            path = folder / "_".join(filter(None, (prefix, *name.split("/"))))
            figures.append(draw_curve(path.with_suffix(".png"), bands, name=name))
    return figures


def clips_over_time(groups: Sequence[RunGroup], *, steps: int) -> list[tuple[str, Clips]]:
    """The clips that runs made while they trained, step by step and run beside run.

    Every run made them for the same windows and noise, so clip n of one is to be seen beside clip n of
    another. Runs whose folder is not here any more have none.

    Args:
        groups: runs of one stage.
        steps: how many steps are shown per run, the first and the last among them.
    """
    shown: list[tuple[str, Clips]] = []
    runs = [run for group in groups for run in group.runs]
    made = {run.name: _sample_steps(run, steps) for run in runs}
    for number in range(CLIPS):
        for place in range(steps):
            clips = [
                (folder / f"{number}.mp4", f"{name}, step {int(folder.name.removeprefix('step_')):,}")
                for name, folders in made.items()
                for folder in folders[place : place + 1]
                if (folder / f"{number}.mp4").is_file()
            ]
            if clips:
                shown.append((f"Clip {number}, {place + 1} of {steps} steps shown", clips))
    return shown


def _sample_steps(run: ComparedRun, most: int) -> list[Path]:
    """Folders of a run's clips, evenly over the training."""
    place = Path(run.params.get("output", "")) / run.params.get("stage", run.stage) / "samples"
    found = sorted(place.glob("step_[0-9]*")) if "output" in run.params else []
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / max(1, most - 1))] for i in range(most)]


def band(curves: Sequence[Curve]) -> list[tuple[int, float, float]]:
    """Step, mean and sample deviation of several runs' curves, at the steps that all of them have."""
    by_step = [dict(curve) for curve in curves]
    steps = sorted(set(by_step[0]).intersection(*by_step[1:]))
    at = {step: [values[step] for values in by_step] for step in steps}
    return [(step, statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else 0.0) for step, v in at.items()]


def _metrics(group: RunGroup) -> set[str]:
    return {name for run in group.runs for name in run.curves}


def _shown(values: Sequence[str]) -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(sorted(values)[:SHOWN]) + more


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"
