"""Runs and points for the tests of what MLflow holds."""

from pathlib import Path

from infra.tracking.points import MlflowCallback
from infra.tracking.runs import TrackedRun, open_run
from syncflow.hashing import settings_sha256
from syncflow.places import sqlite_file


def opened(
    uri: str, pipeline: str, stage: str = "video", *, goes_on: bool = False, **params: object
) -> TrackedRun:
    """The run of a folder beside the store, asked for with `params`."""
    place = sqlite_file(uri)
    assert place is not None
    run = open_run(
        uri,
        experiment="test",
        pipeline=pipeline,
        stage=stage,
        folder=place.parent / "made" / pipeline / stage,
        identity=settings_sha256(params),
        goes_on=goes_on,
        params=params,
        tags={},
    )
    assert run is not None
    return run


def send(
    run: TrackedRun | None, points: dict[int, float], *, spill: Path, start_step: int = 0
) -> MlflowCallback:
    callback = MlflowCallback(run, spill=spill)
    callback.on_start(start_step=start_step, steps=100)
    for step, loss in points.items():
        callback.on_log(step, {"loss": loss, "never": float("nan")})
    callback.on_end(max(points, default=0))
    return callback
