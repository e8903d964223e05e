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
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

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

SHUTDOWN_S = 60.0
PLACE_VARIABLE = "RAY_TMPDIR"
PRELOAD_VARIABLE = "RAY_preload_python_modules"
ADDRESS_FILE = "ray_current_cluster"


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
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():  # a caller's cluster: use it, and leave it running
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=log_to_driver, logging_level=logging.WARNING)
        try:
            yield
        finally:
            ray.shutdown()
        return
    # a short path: the sockets of Ray live below it, and a socket's path has at most 107 characters
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.path.isdir("/tmp") else None)  # noqa: PTH112
    folder = Path(place) / "ray"
    try:
        with _as_place_of_ray(place):
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=log_to_driver,
                logging_level=logging.ERROR,
                logging_config=ray.LoggingConfig(encoding="TEXT", log_level="ERROR"),
                _temp_dir=str(folder),
            )
        (folder / ADDRESS_FILE).write_text(ray.get_runtime_context().gcs_address, encoding="utf-8")
        yield
    finally:
        _end(folder)
        shutil.rmtree(place, ignore_errors=True)


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
        with _with_variable(PRELOAD_VARIABLE, preloaded), cluster(num_cpus=num_cpus):
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


@contextmanager
def _as_place_of_ray(place: str) -> Iterator[None]:
    """What begins in the block looks for this Ray's address in `<place>/ray`, and not in `/tmp/ray`.

    An actor of Ray Train's asks the cluster for the state of another. Where another Ray runs on the machine,
    or has left its address there, it would ask that one, and end in a traceback.
    """
    with _with_variable(PLACE_VARIABLE, place):
        yield


@contextmanager
def _with_variable(name: str, value: str) -> Iterator[None]:
    """An environment variable that what begins in the block is given."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _end(folder: Path) -> None:
    """Ray's shutdown, which waits without limit for an answer of its control service (GCS).

    A service that does not answer is ended after `SHUTDOWN_S`, so that a job whose work is done ends too.
    """
    import ray

    services = [each for each in psutil.Process().children(recursive=True) if _serves(each, folder)]
    guard = threading.Timer(SHUTDOWN_S, lambda: [service.kill() for service in services])
    guard.start()
    try:
        ray.shutdown()
    finally:
        guard.cancel()


def _serves(process: psutil.Process, folder: Path) -> bool:
    """Whether it is the control service of the Ray that lives in a folder."""
    try:
        command = process.cmdline()
    except psutil.Error:  # it ended meanwhile
        return False
    return bool(command) and command[0].endswith("gcs_server") and str(folder) in " ".join(command)
