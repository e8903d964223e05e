"""MLflow without the power to stop training: one parent run a pipeline, one child a stage.

Points go through a queue and a thread. What the store does not take is kept in a file and sent later;
each point is sent once, and a run that goes on from a state first skips what is already there.
"""

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncflow.training.loop import Callback

PARENT_TAG = "mlflow.parentRunId"
PIPELINE_TAG = "syncflow.pipeline"
STAGE_TAG = "syncflow.stage"
BATCH = 500  # points in a request; MLflow allows 1000
Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """Where a stage's points go; it pickles, so the driver makes it and a worker uses it."""

    uri: str
    run_id: str


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
) -> TrackedRun | None:
    """The child run of a stage under the parent of its pipeline; found again when the stage goes on.

    Returns None, and says so, when the store does not answer: training goes on without it.
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
        return TrackedRun(uri=uri, run_id=child)
    except Exception as error:
        print(f"MLflow at {uri} does not answer ({_short(error)}); training goes on without it", flush=True)
        return None


def close_run(run: TrackedRun | None, *, status: str, artifacts: Path | None = None) -> None:
    """End a run, with the small files of `artifacts` (manifest, resolved settings)."""
    if run is None:
        return
    try:
        store = client(run.uri)
        for path in sorted(artifacts.iterdir()) if artifacts and artifacts.is_dir() else ():
            if path.suffix in (".json", ".yaml"):
                store.log_artifact(run.run_id, str(path), artifact_path="checkpoint")
        store.set_terminated(run.run_id, status=status)
        parent = store.get_run(run.run_id).data.tags.get(PARENT_TAG)
        if parent:
            store.set_terminated(parent, status=status)
    except Exception as error:
        print(f"MLflow at {run.uri} does not answer ({_short(error)}); the run stays open there", flush=True)


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


class MlflowCallback(Callback):
    """Sends what is logged; at one worker, rank 0.

    Args:
        run: where to.
        spill: a file for the points that the store did not take; they are sent with the next ones that
            it takes, or at the start of the next attempt.
        samples_per_step: turns steps a second into samples a second, which is sent too.
    """

    def __init__(self, run: TrackedRun, *, spill: Path, samples_per_step: int) -> None:
        self.run, self.spill, self.samples_per_step = run, spill, samples_per_step
        self._queue: queue.Queue[list[Point] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._known: dict[str, int] = {}  # last step of each metric that the store has
        self._warned = False

    def on_start(self, *, start_step: int, steps: int) -> None:
        del steps
        self._trim_spill(start_step)
        self._thread.start()

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        if "steps_per_second" in metrics:
            samples = metrics["steps_per_second"] * self.samples_per_step
            metrics = {**metrics, "samples_per_second": samples}
        self._queue.put([(name, value, now, step) for name, value in metrics.items() if value == value])

    def on_end(self, step: int) -> None:
        self._queue.put(None)
        self._thread.join(timeout=60)
        if self._thread.is_alive() or self.spill.exists():
            print(
                f"MLflow: points wait in {self.spill}; they are sent when the stage is run again", flush=True
            )

    def _work(self) -> None:
        store, waiting = None, self._read_spill()
        while True:
            points = self._queue.get()
            waiting += points or []
            while points is not None and not self._queue.empty():
                points = self._queue.get_nowait()
                waiting += points or []
            try:
                if store is None:
                    store = client(self.run.uri)
                    store.get_run(self.run.run_id)
                self._send(store, waiting)
                waiting = []
                self.spill.unlink(missing_ok=True)
            except Exception as error:
                store = None
                self._write_spill(waiting)
                if not self._warned:
                    self._warned = True
                    print(
                        f"MLflow does not answer ({_short(error)}); points wait in {self.spill}", flush=True
                    )
            if points is None:
                return

    def _send(self, store: Any, waiting: list[Point]) -> None:
        from mlflow.entities import Metric

        fresh = [point for point in waiting if point[3] > self._last_known(store, point[0])]
        for start in range(0, len(fresh), BATCH):
            part = fresh[start : start + BATCH]
            metrics = [Metric(name, value, when, step) for name, value, when, step in part]
            store.log_batch(self.run.run_id, metrics=metrics)
            for name, _, _, step in part:
                self._known[name] = max(self._known[name], step)

    def _last_known(self, store: Any, name: str) -> int:
        """The last step of a metric in the store: an attempt before this one may have sent more."""
        if name not in self._known:
            history = store.get_metric_history(self.run.run_id, name)
            self._known[name] = max((point.step for point in history), default=-1)
        return self._known[name]

    def _read_spill(self) -> list[Point]:
        if not self.spill.exists():
            return []
        lines = self.spill.read_text(encoding="utf-8").splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def _write_spill(self, points: list[Point]) -> None:
        self.spill.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.spill.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")
        temporary.replace(self.spill)

    def _trim_spill(self, start_step: int) -> None:
        """Drop points beyond the restored step: the attempt makes them again."""
        kept = [point for point in self._read_spill() if point[3] <= start_step]
        if kept:
            self._write_spill(kept)
        else:
            self.spill.unlink(missing_ok=True)


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


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
