"""A training stage in MLflow: settings, data, where its first weights came from, what a step costs."""

import math
from collections.abc import Mapping
from pathlib import Path

from infra.tracking import DataUsed, TrackedRun, client, open_run, read_note, short, write_note
from infra.tracking_points import MlflowCallback
from syncflow.data.parquet import DatasetManifest
from syncflow.training.config import TrainConfig
from syncflow.training.start import is_checkpoint, start_of


def open_stage(config: TrainConfig) -> TrackedRun | None:
    """The stage's run, with the lineage of its data and first weights; None where nothing is tracked."""
    if not config.tracking:
        return None
    dataset = DatasetManifest.read(config.data)
    used = [
        DataUsed(
            name=config.data.resolve().name,
            digest=dataset.files_sha256,
            place=str(config.data.resolve()),
            context=context,
            profile={"windows": dataset.windows},
        )
        for context in ("training", *(("validation",) if config.validate_every else ()))
    ]
    run = open_run(
        config.tracking,
        experiment=config.experiment,
        pipeline=config.run_name,
        stage=config.stage,
        params=config.model_dump(mode="json"),
        tags={
            "dataset.folder": str(config.data.resolve()),
            "dataset.recipe": dataset.recipe,
            "dataset.files_sha256": dataset.files_sha256,
            "dataset.windows": str(dataset.windows),
            **lineage(config),
        },
        inputs=used,
    )
    write_note(run, config.folder)
    return run


def lineage(config: TrainConfig) -> dict[str, str]:
    """Tags that name the stage before: its checkpoint, the hash of its weights, its run."""
    start = start_of(config)
    if start == "none":
        return {"lineage.initialised_from": "seed"}
    tags = {"lineage.initialised_from": start}
    if is_checkpoint(start):
        from syncflow.training.checkpoint import CheckpointManifest

        tags["lineage.initialised_from_sha256"] = CheckpointManifest.read(Path(start)).model_sha256
        tags["lineage.initialised_from_run"] = read_note(Path(start))
    return tags


def log_figures(config: TrainConfig, figures: Mapping[str, float]) -> None:
    """What was measured of a finished stage, as metrics `held_out/<name>` at its last step."""
    run_id = read_note(config.folder)
    if not config.tracking or not run_id:
        return
    try:
        store = client(config.tracking)
        for name, value in figures.items():
            if math.isfinite(value):
                store.log_metric(run_id, f"held_out/{name}", float(value), step=config.steps)
    except Exception as error:
        print(f"MLflow at {config.tracking} does not answer ({short(error)}); figures not sent", flush=True)


def tracker(config: TrainConfig, run: TrackedRun | None) -> MlflowCallback:
    """What sends a worker's points, or keeps them where the store did not answer; for rank 0."""
    return MlflowCallback(run, spill=config.folder / "unsent_points.jsonl")
