"""Score folders of clips, write the tables, and send the figures to MLflow."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from infra.tracking import client, close_run, flatten, open_run, plain_name, run_that_made
from syncflow.config import dump_config, settings_of
from syncflow.evaluation.report import summary_markdown, write_scores, write_summary
from syncflow.evaluation.suite import ClipScore, SystemSummary, list_clips, score_clips, summarise
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.hashing import settings_sha256
from syncflow.media.clip_folder import distinct_names
from syncflow.systems.sidecar import Sidecar


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
    summaries = [summarise(system, rows) for system, rows in scores.items()]
    write_scores(config.output, scores)
    write_summary(config.output, summaries, tolerance_s=config.tolerance_s)
    dump_config(config, config.output / "resolved.yaml")
    Console().print(Markdown(summary_markdown(summaries, tolerance_s=config.tolerance_s)))
    if config.tracking:
        track(config, summaries)
    print(f"scores in {config.output}")
    return 3 if any(summary.failed for summary in summaries) else 0


def lineage(folders: Sequence[Path]) -> dict[str, str]:
    """Tags that name what made each folder's clips: checkpoint, hash of its weights, training run.

    From a sidecar of generate.py; a folder without one holds clips from elsewhere.
    """
    tags = {}
    for system, folder in zip(distinct_names(list(folders)), folders, strict=True):
        for path in sorted(folder.glob("*.json"))[:1]:
            made = Sidecar.read(path)
            checkpoint = str(made.settings["checkpoint"])
            name = f"lineage.{plain_name(system)}"
            tags[f"{name}.checkpoint"] = checkpoint
            tags[f"{name}.weights_sha256"] = made.weights["dual_dit"]
            if run := run_that_made(Path(checkpoint)):
                tags[f"{name}.run"] = run
    return tags


def track(config: EvaluateConfig, summaries: Sequence[SystemSummary]) -> None:
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
    for name in ("summary.md", "summary.csv", "scores.csv", "resolved.yaml"):
        store.log_artifact(run.run_id, str(config.output / name), artifact_path="scores")
    close_run(run, status="FINISHED")
