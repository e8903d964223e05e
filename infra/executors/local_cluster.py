"""A quiet Ray of our own on this machine, or the cluster that the environment names.

    with cluster(num_cpus=2):
        ...

`RAY_ADDRESS` (set by `ray job submit`, or by hand) says that there is a cluster to join. Otherwise a
private one is started and ended: never one that happens to run on the machine.
"""

import importlib
import logging
import math
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from infra.executors.private_ray import private_ray, with_variable
from syncflow.errors import UserError

if TYPE_CHECKING:
    from ray.data import DataContext

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it would show each line of a worker twice
    "RAY_COLOR_PREFIX": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # until it sees that the workers have ended; Ray's own: 2
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it tells workers of a node's end; ours heed SIGTERM
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a loaded machine imports for minutes; 60 s, then anew
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # leave CUDA_VISIBLE_DEVICES of CPU-only tasks alone
    "RAY_enable_metrics_collection": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "0",
    "RAY_worker_niceness": "0",  # that of the driver; Ray's own 15 starves workers where anything else runs
}

ANSWER_S = 20.0
PRELOAD_VARIABLE = "RAY_preload_python_modules"


def quiet_ray_data() -> "DataContext":
    """Ray Data without progress bars, notes and what only they read: a job prints its own line.

    Returns:
        the settings of the datasets that this process makes.
    """
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.memory_usage_poll_interval_s = None  # of each worker, every second
    context.issue_detectors_config.detectors = []
    return context


def ray_is_elsewhere() -> bool:
    """Whether the cluster that `cluster` joins is another than one that it starts on this machine."""
    import ray

    return bool(os.environ.get("RAY_ADDRESS")) or ray.is_initialized()


@contextmanager
def cluster(*, num_cpus: int | None = None, log_to_driver: bool = True) -> Iterator[None]:
    """Ray, for as long as the block lasts.

    Args:
        num_cpus: CPUs that a private cluster is to offer; None: those of the machine. More than the
            machine has is allowed, so that two workers also run on one core.
        log_to_driver: show what the workers print.

    Raises:
        UserError: nothing answers at `RAY_ADDRESS`, or a private Ray does not start.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():  # a caller's cluster: use it, and leave it running
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        _check_answers(os.environ["RAY_ADDRESS"])
        ray.init(log_to_driver=log_to_driver, logging_level=logging.WARNING)
        try:
            yield
        finally:
            ray.shutdown()
        return
    with private_ray(num_cpus=num_cpus, log_to_driver=log_to_driver):
        yield


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):  # `auto`
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS {address}: no Ray answers there ({error.strerror or error}); start the cluster, or "
            "unset RAY_ADDRESS for a Ray of this job's own"
        ) from None


@contextmanager
def cluster_beside_imports(
    module: str, *, preloaded: str = "", workers: int = 0, num_cpus: int | None = None
) -> Iterator[None]:
    """`cluster`, which starts its processes while a thread imports what the block will import.

    Importing torch, transformers and diffusers takes seconds, in which one core is busy and the others wait.
    Where there is no GPU, the first worker processes of a private Ray import it, too, for the tasks to come.

    Args:
        module: of the job. One that cannot be imported is left to the block, whose own import says why.
        preloaded: a module that each worker process of a private Ray imports as it starts.
        workers: how many import the job's module; 0: one a CPU.
        num_cpus: as `cluster`'s.
    """
    is_private = not ray_is_elsewhere()  # imports Ray: two threads could deadlock in its circular imports
    importing = threading.Thread(target=_try_to_import, args=(module,), daemon=True)
    importing.start()
    try:
        with with_variable(PRELOAD_VARIABLE, preloaded), cluster(num_cpus=num_cpus):
            if is_private:
                _import_in_workers(module, workers)
            importing.join()
            yield
    finally:
        importing.join()


def _import_in_workers(module: str, workers: int) -> None:
    import ray

    offered = ray.cluster_resources()
    if offered.get("GPU"):  # workers are actors then, in processes of their own
        return
    load = ray.remote(num_cpus=1, max_retries=0)(_try_to_import)
    for _ in range(int(min(workers or math.inf, offered["CPU"]))):
        load.remote(module)


def _try_to_import(module: str) -> None:
    with suppress(Exception):
        importlib.import_module(module)
