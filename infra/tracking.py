"""Runs in MLflow, without the power to stop training: one parent run a pipeline, one child a stage.

A run is found again by its pipeline and stage. Points are sent by `infra/tracking_points.py`.
"""

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

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


def write_note(run: TrackedRun | None, folder: Path) -> None:
    """Leave the run's place beside what it makes, so that what is made from it can name its origin."""
    if run is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NOTE).write_text(
            json.dumps({"uri": run.uri, "run_id": run.run_id}) + "\n", encoding="utf-8"
        )


def read_note(folder: Path) -> str:
    """Id of the run that made what lies in `folder` or one above it; empty where none is known."""
    for place in (folder, folder.parent):
        if (place / NOTE).is_file():
            return json.loads((place / NOTE).read_text(encoding="utf-8"))["run_id"]
    return ""


def client(uri: str) -> Any:
    """An MlflowClient; quiet, and without minutes of retries towards a server that is down."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
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
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    inputs: Sequence[DataUsed] = (),
) -> TrackedRun | None:
    """The child run of a stage under the parent of its pipeline; found again when the stage goes on.

    Returns None, and says so, when the store does not answer: training goes on, and its points wait.
    """
    try:
        store = client(uri)
        found = store.get_experiment_by_name(experiment)
        if found is not None:
            identity = found.experiment_id
        else:
            place = artifact_folder(uri)
            identity = store.create_experiment(experiment, artifact_location=place)
        parent = _find(store, identity, {PIPELINE_TAG: pipeline, STAGE_TAG: "pipeline"})
        if parent is None:
            own = {PIPELINE_TAG: pipeline, STAGE_TAG: "pipeline"}
            parent = store.create_run(identity, run_name=pipeline, tags=own).info.run_id
        wanted = {PIPELINE_TAG: pipeline, STAGE_TAG: stage, PARENT_TAG: parent}
        child = _find(store, identity, wanted)
        if child is None:
            child = store.create_run(identity, run_name=f"{pipeline}/{stage}", tags=wanted).info.run_id
        store.update_run(child, status="RUNNING")
        _write_settings(store, child, params, tags)
        _write_inputs(store, child, inputs)
        return TrackedRun(uri=uri, run_id=child)
    except Exception as error:
        print(f"MLflow at {uri} does not answer ({short(error)}); training goes on without it", flush=True)
        return None


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
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


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


def _find(store: Any, experiment: str, tags: Mapping[str, str]) -> str | None:
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = store.search_runs([experiment], filter_string=query, max_results=1)
    return found[0].info.run_id if found else None


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
