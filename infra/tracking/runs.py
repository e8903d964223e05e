"""Runs in MLflow, without the power to stop training: one parent run a pipeline, one child a stage.

A run is what the note in its own folder names, never what has the same name: a training that begins anew is a
new run beside the old one. Parents hold no figures; they only gather the runs of one name. Points are sent by
`infra/tracking/points.py`.
"""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from syncflow.files import write_whole
from syncflow.places import sqlite_file

PARENT_TAG = "mlflow.parentRunId"
PIPELINE_TAG = "syncflow.pipeline"
STAGE_TAG = "syncflow.stage"
NOTE = "mlflow_run.json"  # beside what a run made: where its figures are


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """Where a stage's points go; it pickles, so the driver makes it and a worker uses it."""

    uri: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class DataUsed:
    """A dataset that a run read."""

    name: str
    digest: str
    """Content hash; MLflow keeps 36 characters."""
    place: str
    context: str
    """`training`, `validation`, `evaluation`."""
    profile: Mapping[str, float]
    """Sizes, as MLflow's page of the dataset shows them."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What `mlflow_run.json` in a folder says of the run that made what lies there."""

    uri: str
    run_id: str
    identity: str = ""
    """Hash of what the run was asked for; empty in older notes."""
    attempt: str = ""
    """Name of the call that opened the run last."""

    @classmethod
    def read(cls, folder: Path) -> "Note | None":
        """The note in `folder` itself; None where there is none that can be read."""
        try:
            values = json.loads((folder / NOTE).read_text(encoding="utf-8"))
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{name: str(value) for name, value in values.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        """Leave it in `folder`, so that what is made from its content can name its origin."""
        write_whole(folder / NOTE, json.dumps(dataclasses.asdict(self)) + "\n")


def run_that_made(folder: Path) -> str:
    """Id of the run that made what lies in `folder` or one above it; empty where none is known."""
    note = Note.read(folder) or Note.read(folder.parent)
    return note.run_id if note else ""


def opened_by(attempt: str, folder: Path) -> TrackedRun | None:
    """The run that this attempt has opened for what lies in `folder`; None where it was not accepted."""
    note = Note.read(folder)
    return TrackedRun(uri=note.uri, run_id=note.run_id) if note and note.attempt == attempt else None


def client(uri: str) -> Any:
    """An MlflowClient; quiet, and without minutes of retries towards a server that is down."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if path := sqlite_file(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


def open_run(
    uri: str,
    *,
    experiment: str,
    pipeline: str,
    stage: str,
    folder: Path,
    identity: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    goes_on: bool = False,
    attempt: str = "",
    inputs: Sequence[DataUsed] = (),
) -> TrackedRun | None:
    """The run of what is made in `folder`, under its pipeline's parent: that of the folder's note, or new.

    Returns None, and says so, when the store does not answer: training goes on, and its points wait.

    Args:
        uri: MLflow's store or server.
        experiment: MLflow experiment in which a new run is filed.
        pipeline: name of the parent run of a new run.
        stage: name of a new run.
        folder: what the run makes; its note is written here.
        identity: hash of what is asked for; the note's run is taken up again if it was asked for the same.
        params: the run's settings; those that changed since the run began become tags.
        tags: what else the run says of itself.
        inputs: datasets that the run is made from.
        goes_on: the work goes on from a saved state, so the note's run is its run whatever has changed.
        attempt: name of this call, for `opened_by`.
    """
    note = Note.read(folder)
    try:
        store = client(uri)
        run_id = ""
        if note is not None and (goes_on or note.identity == identity):
            run_id = _living(store, note.run_id)
        if not run_id:
            home = _experiment(store, experiment, uri)
            own = {PIPELINE_TAG: pipeline, STAGE_TAG: stage, PARENT_TAG: _parent(store, home, pipeline)}
            run_id = store.create_run(home, run_name=f"{pipeline}/{stage}", tags=own).info.run_id
        Note(uri=uri, run_id=run_id, identity=identity, attempt=attempt).write(folder)
        store.update_run(run_id, status="RUNNING")
        _write_settings(store, run_id, params, tags)
        _write_inputs(store, run_id, inputs)
        return TrackedRun(uri=uri, run_id=run_id)
    except DeletedExperimentError as error:
        print(f"MLflow: {error}; this goes on without it", flush=True)
        return None
    except Exception as error:
        print(f"MLflow at {uri} does not answer ({short(error)}); training goes on without it", flush=True)
        return None


class DeletedExperimentError(Exception):
    """The experiment's name belongs to a deleted one."""


def _experiment(store: Any, name: str, uri: str) -> str:
    """Id of the experiment, made where there is none."""
    found = store.get_experiment_by_name(name)
    if found is None:
        return store.create_experiment(name, artifact_location=artifact_folder(uri))
    if found.lifecycle_stage == "deleted":
        raise DeletedExperimentError(
            f"experiment {name!r} is deleted in {uri}; restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}), or give another --experiment"
        )
    return found.experiment_id


def _living(store: Any, run_id: str) -> str:
    """`run_id` if the store has that run and it is not deleted; else empty."""
    from mlflow.exceptions import MlflowException

    try:
        run = store.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return ""
        raise
    return run_id if run.info.lifecycle_stage == "active" else ""


def _parent(store: Any, experiment: str, pipeline: str) -> str:
    """Id of the run that gathers those of one pipeline, made where there is none."""
    for run in all_runs(store, [experiment], filter_string=f"tags.`{STAGE_TAG}` = 'pipeline'"):
        if run.data.tags.get(PIPELINE_TAG) == pipeline:  # compared here: a name may hold quotes
            return run.info.run_id
    own = {PIPELINE_TAG: pipeline, STAGE_TAG: "pipeline"}
    return store.create_run(experiment, run_name=pipeline, tags=own).info.run_id


def all_runs(store: Any, experiments: Sequence[str], **query: Any) -> Iterator[Any]:
    """Every run that a search finds; MLflow hands out at most so many at once."""
    token = None
    while True:
        page = store.search_runs(list(experiments), page_token=token, **query)
        yield from page
        token = page.token
        if not token:
            return


def close_run(
    run: TrackedRun | None, *, status: str, artifacts: Path | None = None, samples: Path | None = None
) -> None:
    """End a run, with the small files of `artifacts` (manifest, resolved settings) and all of `samples`."""
    if run is None:
        return
    try:
        store = client(run.uri)
        for path in sorted(artifacts.iterdir()) if artifacts and artifacts.is_dir() else ():
            if path.suffix in (".json", ".yaml"):
                store.log_artifact(run.run_id, str(path), artifact_path="checkpoint")
        if samples is not None and samples.is_dir():
            store.log_artifacts(run.run_id, str(samples), artifact_path="samples")
        store.set_terminated(run.run_id, status=status)
        parent = store.get_run(run.run_id).data.tags.get(PARENT_TAG)
        if parent:
            store.set_terminated(parent, status=status)
    except Exception as error:
        print(f"MLflow at {run.uri} does not answer ({short(error)}); the run stays open there", flush=True)


def artifact_folder(uri: str) -> str | None:
    """Artifacts lie beside a SQLite store; a server decides for itself."""
    path = sqlite_file(uri)
    return None if path is None else (path.resolve().parent / "mlartifacts").as_uri()


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted name, as text."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat


def plain_name(name: str) -> str:
    """`name` in the characters that MLflow takes; one with others is told apart by its hash."""
    plain = re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:6]}"


def _write_settings(store: Any, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Parameters are written once in MLflow; what changed later becomes a tag."""
    from mlflow.entities import Param, RunTag

    present = store.get_run(run_id).data.params
    new = flatten(params)
    fresh = [Param(name, value[:6000]) for name, value in new.items() if name not in present]
    changed = [
        RunTag(f"changed.{n}", v[:5000]) for n, v in new.items() if present.get(n, v[:6000]) != v[:6000]
    ]
    own = [RunTag(name, value[:5000]) for name, value in tags.items()]
    for start in range(0, max(len(fresh), 1), 100):
        store.log_batch(run_id, params=fresh[start : start + 100], tags=(own + changed) if not start else [])


def _write_inputs(store: Any, run_id: str, inputs: Sequence[DataUsed]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    named = [
        DatasetInput(
            Dataset(
                name=used.name,
                digest=used.digest[:36],
                source_type="local",
                source=json.dumps({"uri": used.place}),
                profile=json.dumps(dict(used.profile)),
            ),
            [InputTag("mlflow.data.context", used.context)],
        )
        for used in inputs
    ]
    if named:
        store.log_inputs(run_id, datasets=named)


def short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
