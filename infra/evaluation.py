"""Score folders of clips, write the tables, and send the figures to MLflow."""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from infra.metrics import measure_systems, print_plan
from infra.tracking.runs import client, close_run, flatten, open_run, plain_name, run_that_made
from syncflow.config import dump_config, settings_of
from syncflow.errors import UserError
from syncflow.evaluation.comparison import Comparison
from syncflow.evaluation.comparison_table import FILES, logged
from syncflow.evaluation.over_checkpoints import mean_markdown, mean_over, write_mean
from syncflow.evaluation.report import write_scores, write_summary
from syncflow.evaluation.suite import ClipScore, SystemSummary, list_clips, score_clips, summarise
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.generation.sidecar import Sidecar
from syncflow.hashing import settings_sha256
from syncflow.media.clip_folder import distinct_names


def evaluate(config: EvaluateConfig) -> int:
    """Status 0, or 3 when a clip failed (its reason is in scores.csv).

    Raises:
        UserError: a folder that is missing, empty, given twice, or without a list of the split.
    """
    systems = distinct_names(list(config.clips))
    listed = {
        system: list_clips(folder, split=config.split)
        for system, folder in zip(systems, config.clips, strict=True)
    }
    if config.plan:
        return print_plan(config, listed)
    scores: dict[str, list[ClipScore]] = {}
    with Progress() as progress:
        task = progress.add_task("scoring", total=sum(map(len, listed.values())))
        for system, clips in listed.items():
            done = progress.tasks[task].completed

            def report(number: int, before: float = done) -> None:
                progress.update(task, completed=before + number)

            scores[system] = score_clips(
                clips, spec=config.clip, tolerance_s=config.tolerance_s, report=report
            )
    chosen = [_best_of(folder) for folder in config.clips]
    summaries = [
        summarise(system, rows, best_of=best_of)
        for (system, rows), best_of in zip(scores.items(), chosen, strict=True)
    ]
    write_scores(config.output, scores)
    page = write_summary(config.output, summaries, tolerance_s=config.tolerance_s)
    (config.output / "mean.csv").unlink(missing_ok=True)  # of an earlier evaluation
    if config.mean_as:
        figures = mean_over(summaries)
        write_mean(config.output / "mean.csv", config.mean_as, figures)
        with page.open("a", encoding="utf-8") as stream:
            stream.write("\n" + mean_markdown(config.mean_as, figures))
    dump_config(config, config.output / "resolved.yaml")
    Console().print(Markdown(page.read_text(encoding="utf-8")))
    comparison = measure_systems(config, listed) if config.metrics.names else None
    if config.tracking:
        track(config, summaries, comparison)
    print(f"scores in {config.output}")
    failed = any(summary.failed for summary in summaries) or (comparison and comparison.failures)
    return 3 if failed else 0


def lineage(folders: Sequence[Path]) -> dict[str, str]:
    """Tags that name what made each folder's clips: checkpoint, hash of its weights, training run.

    From a sidecar of generate.py; a folder without one holds clips from elsewhere.
    """
    tags = {}
    for system, folder in zip(distinct_names(list(folders)), folders, strict=True):
        if made := _first_sidecar(folder):
            checkpoint = str(made.settings["checkpoint"])
            name = f"lineage.{plain_name(system)}"
            tags[f"{name}.checkpoint"] = checkpoint
            tags[f"{name}.weights_sha256"] = made.weights["dual_dit"]
            if run := run_that_made(Path(checkpoint)):
                tags[f"{name}.run"] = run
    return tags


def _first_sidecar(folder: Path) -> Sidecar | None:
    """Of the clips that generate.py made there; None for clips from elsewhere."""
    for path in sorted(folder.glob("[0-9]*-[0-9]*.json"))[:1]:
        with contextlib.suppress(UserError):  # another tool's file
            return Sidecar.read(path)
    return None


def _best_of(folder: Path) -> int:
    """How many candidates each clip in the folder was the best of, by the score that is reported here."""
    made = _first_sidecar(folder)
    return int(made.settings.get("best_of", 1)) if made else 1


def track(
    config: EvaluateConfig, summaries: Sequence[SystemSummary], comparison: Comparison | None = None
) -> None:
    """Every finite figure as `<system>/<figure>` in a child run of the pipeline's, and the files.

    Another protocol, other folders or clips of other weights are another run.
    """
    origins, folders = lineage(config.clips), [str(folder.resolve()) for folder in config.clips]
    run = open_run(
        config.tracking,
        experiment=config.experiment,
        pipeline=config.run,
        stage="evaluation",
        folder=config.output,
        identity=settings_sha256([settings_of(config), folders, origins]),
        params=flatten(config.model_dump(mode="json")),
        tags=origins,
    )
    if run is None:
        return
    store = client(run.uri)
    for summary in summaries:
        for name, value in dataclasses.asdict(summary).items():
            if not isinstance(value, str) and math.isfinite(value):
                store.log_metric(run.run_id, f"{plain_name(summary.system)}/{name}", float(value))
    for each in mean_over(summaries) if config.mean_as else ():
        name = f"{plain_name(config.mean_as)}/{each.figure}"
        store.log_metric(run.run_id, name, each.mean)
        if math.isfinite(each.deviation):
            store.log_metric(run.run_id, f"{name}_deviation", each.deviation)
    for name, value in (logged(comparison) if comparison else {}).items():
        store.log_metric(run.run_id, plain_name(name), value)
    files = ("summary.md", "summary.csv", "scores.csv", "mean.csv", "resolved.yaml")
    for name in (*files, *(FILES if comparison else ())):
        if not (config.output / name).is_file():
            continue
        store.log_artifact(run.run_id, str(config.output / name), artifact_path="scores")
    close_run(run, status="FINISHED")
