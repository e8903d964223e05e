"""A training stage in MLflow: settings, data, where its first weights came from, what a step costs."""

import math
from collections.abc import Mapping
from pathlib import Path

from infra.tracking.runs import DataUsed, Note, TrackedRun, client, open_run, run_that_made, short
from syncflow.config import settings_of
from syncflow.data.parquet import DatasetManifest
from syncflow.hashing import settings_sha256
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.start import is_checkpoint, start_of


def open_stage(config: TrainConfig, *, goes_on: bool, attempt: str) -> TrackedRun | None:
    """The stage's run, with the lineage of its data and first weights; None where nothing is tracked.

    Args:
        config: the settings, accepted.
        goes_on: from a saved state; else the run of an earlier training in the same folder is taken up again
            only if settings, data and first weights are the same.
        attempt: name of this call, for `tracking.opened_by`.
    """
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
    came_from = lineage(config)
    made_of = {name: value for name, value in came_from.items() if name.endswith("sha256")}
    return open_run(
        config.tracking,
        experiment=config.experiment,
        pipeline=config.run_name,
        stage=config.stage,
        folder=config.folder,
        identity=settings_sha256([settings_of(config), dataset.files_sha256, made_of]),
        goes_on=goes_on,
        attempt=attempt,
        params=config.model_dump(mode="json"),
        tags={
            "dataset.folder": str(config.data.resolve()),
            "dataset.recipe": dataset.recipe,
            "dataset.files_sha256": dataset.files_sha256,
            "dataset.windows": str(dataset.windows),
            **came_from,
        },
        inputs=used,
    )


def lineage(config: TrainConfig) -> dict[str, str]:
    """Tags that name the stage before: its checkpoint, the hash of its weights, its run."""
    start = start_of(config)
    if start == "none":
        return {"lineage.initialised_from": "seed"}
    tags = {"lineage.initialised_from": start}
    if is_checkpoint(start):
        from syncflow.checkpoint import CheckpointManifest

        tags["lineage.initialised_from_sha256"] = CheckpointManifest.read(Path(start)).model_sha256
        tags["lineage.initialised_from_run"] = run_that_made(Path(start))
    return tags


def log_figures(config: TrainConfig, figures: Mapping[str, float]) -> None:
    """What was measured of a finished stage, as metrics `held_out/<name>` at its last step."""
    note = Note.read(config.folder)
    if not config.tracking or note is None:
        return
    run_id = note.run_id
    try:
        store = client(config.tracking)
        for name, value in figures.items():
            if math.isfinite(value):
                store.log_metric(run_id, f"held_out/{name}", float(value), step=config.steps)
    except Exception as error:
        print(f"MLflow at {config.tracking} does not answer ({short(error)}); figures not sent", flush=True)
