"""Points to MLflow beside training: through a thread, each sent once.

Every point lies in a file until the store has taken it, so neither a store that is down or locked nor a kill
loses one. What waits is sent with the next points, or when the stage is run again. Before a name is sent for
the first time, and after every failure, the store is asked for its last step, so that none arrives twice.
"""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from infra.tracking import runs as tracking
from infra.tracking.runs import TrackedRun, short
from syncflow.training.loop import Callback

MIB = 1 << 20

BATCH = 500  # points in a request; MLflow allows 1000
Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step


class MlflowCallback(Callback):
    """Sends what is logged; at one worker, rank 0.

    Args:
        run: where to; None where the store did not answer when the stage began: all points wait.
        spill: the file of the points that the store has not taken yet.
    """

    def __init__(self, run: TrackedRun | None, *, spill: Path) -> None:
        self.run, self.spill = run, spill
        self._lock = threading.Lock()
        self._waiting: list[Point] = []  # what the file holds
        self._calls: queue.Queue[bool] = queue.Queue()  # False: the last one
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._store: Any = None
        self._known: dict[str, int] = {}  # last step of each metric that the store has
        self._warned = run is None
        self._is_written = True  # whether the file holds all that waits

    def on_start(self, *, start_step: int, steps: int) -> None:
        """Points beyond the restored step are dropped: this attempt makes them again."""
        del steps
        self._waiting = [point for point in self._read_spill() if point[3] <= start_step]
        self._write_spill()
        self._thread.start()

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        if "steps_per_second" in metrics:
            metrics = {**metrics, **machine_load()}
        points = [(name, value, now, step) for name, value in metrics.items() if value == value]
        with self._lock:
            self._waiting += points
            self._write_spill(added=points)
        self._calls.put(True)

    def on_end(self, step: int) -> None:
        self._calls.put(False)
        self._thread.join(timeout=60)
        if not self._is_written:
            print(f"MLflow: {len(self._waiting)} points are lost: {self.spill} cannot be written", flush=True)
        elif self.spill.exists():
            print(
                f"MLflow: points wait in {self.spill}; they are sent when the stage is run again", flush=True
            )

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = self._calls.get()
            while goes_on and not self._calls.empty():
                goes_on = self._calls.get_nowait()
            if self.run is not None:
                self._try_to_send(self.run)

    def _try_to_send(self, run: TrackedRun) -> None:
        with self._lock:
            points = list(self._waiting)
        try:
            if self._store is None:
                self._store = tracking.client(run.uri)
                self._store.get_run(run.run_id)
            self._send(self._store, run.run_id, points)
        except Exception as error:
            self._store = None
            self._known.clear()  # it may have taken a part
            if not self._warned:
                self._warned = True
                print(f"MLflow does not answer ({short(error)}); points wait in {self.spill}", flush=True)
            return
        with self._lock:
            self._waiting = self._waiting[len(points) :]
            self._write_spill()

    def _send(self, store: Any, run_id: str, waiting: list[Point]) -> None:
        from mlflow.entities import Metric

        fresh = [point for point in waiting if point[3] > self._last_known(store, run_id, point[0])]
        for start in range(0, len(fresh), BATCH):
            part = fresh[start : start + BATCH]
            metrics = [Metric(name, value, when, step) for name, value, when, step in part]
            store.log_batch(run_id, metrics=metrics)
            for name, _, _, step in part:
                self._known[name] = max(self._known[name], step)

    def _last_known(self, store: Any, run_id: str, name: str) -> int:
        """The last step of a metric in the store: an attempt before this one may have sent more."""
        if name not in self._known:
            history = store.get_metric_history(run_id, name)
            self._known[name] = max((point.step for point in history), default=-1)
        return self._known[name]

    def _read_spill(self) -> list[Point]:
        if not self.spill.exists():
            return []
        points = []
        for line in self.spill.read_text(encoding="utf-8").split("\n"):
            with contextlib.suppress(ValueError):  # the last line, where a kill cut it
                points.append(tuple(json.loads(line)))
        return points

    def _write_spill(self, *, added: Sequence[Point] = ()) -> None:
        """The file holds what waits, of which `added` is new; none where nothing does.

        On a full disk points wait in memory, and training goes on.
        """
        try:
            if not self._waiting:
                self.spill.unlink(missing_ok=True)
            elif added and self._is_written:
                self.spill.parent.mkdir(parents=True, exist_ok=True)
                with self.spill.open("a", encoding="utf-8") as stream:
                    stream.writelines(json.dumps(point) + "\n" for point in added)
            else:
                temporary = self.spill.with_suffix(".tmp")
                text = "".join(json.dumps(point) + "\n" for point in self._waiting)
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(self.spill)
            self._is_written = True
        except OSError as error:
            if self._is_written:
                told = f"{self.spill}: cannot be written ({error.strerror or error})"
                print(f"{told}; points for MLflow wait in memory", flush=True)
            self._is_written = False


def machine_load() -> dict[str, float]:
    """Processor and memory of this machine and process, and of each GPU that this process uses.

    The processor's share is that since the last call.
    """
    process, memory = psutil.Process(), psutil.virtual_memory()
    load = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / MIB,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_megabytes": process.memory_info().rss / MIB,
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        load |= {
            "system/gpu_memory_usage_megabytes": (total - free) / MIB,
            "system/gpu_memory_usage_percentage": 100 * (total - free) / total,
            "system/gpu_memory_peak_megabytes": torch.cuda.max_memory_allocated() / MIB,
        }
    return load
