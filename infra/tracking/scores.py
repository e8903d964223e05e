"""An evaluation in MLflow: its figures, its tables, and what made the clips that it scored."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from infra.tracking.runs import client, close_run, flatten, open_run, plain_name, run_that_made
from syncflow.config import settings_of
from syncflow.evaluation.comparison import Comparison
from syncflow.evaluation.comparison_table import FILES, logged
from syncflow.evaluation.over_checkpoints import mean_over
from syncflow.evaluation.suite import SystemSummary
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.hashing import settings_sha256
from syncflow.media.clip_folder import distinct_names
from syncflow.studies.scores import first_sidecar


def lineage(folders: Sequence[Path]) -> dict[str, str]:
    """Tags that name what made each folder's clips: checkpoint, hash of its weights, training run.

    From a sidecar of generate.py; a folder without one holds clips from elsewhere.
    """
    tags = {}
    for system, folder in zip(distinct_names(list(folders)), folders, strict=True):
        if made := first_sidecar(folder):
            checkpoint = str(made.settings["checkpoint"])
            name = f"lineage.{plain_name(system)}"
            tags[f"{name}.checkpoint"] = checkpoint
            tags[f"{name}.weights_sha256"] = made.weights["dual_dit"]
            if run := run_that_made(Path(checkpoint)):
                tags[f"{name}.run"] = run
    return tags


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
