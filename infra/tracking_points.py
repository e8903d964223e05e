"""Points to MLflow beside training: through a queue and a thread, each sent once.

What the store does not take (it is down, or locked) waits in a file and is sent with the next points that it
takes, or at the start of the next attempt. Before a name is sent for the first time, and after every
failure, the store is asked for its last step, so that no point arrives twice.
"""

import json
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra import tracking
from infra.machine_load import machine_load
from infra.tracking import TrackedRun, short
from syncflow.training.loop import Callback

BATCH = 500  # points in a request; MLflow allows 1000
Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step


class MlflowCallback(Callback):
    """Sends what is logged; at one worker, rank 0.

    Args:
        run: where to.
        spill: a file for the points that the store did not take; they are sent with the next ones that
            it takes, or at the start of the next attempt.
    """

    def __init__(self, run: TrackedRun, *, spill: Path) -> None:
        self.run, self.spill = run, spill
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
            metrics = {**metrics, **machine_load()}
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
                    store = tracking.client(self.run.uri)
                    store.get_run(self.run.run_id)
                self._send(store, waiting)
                waiting = []
                self.spill.unlink(missing_ok=True)
            except Exception as error:
                store = None
                self._known.clear()  # it may have taken a part
                self._write_spill(waiting)
                if not self._warned:
                    self._warned = True
                    print(f"MLflow does not answer ({short(error)}); points wait in {self.spill}", flush=True)
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
