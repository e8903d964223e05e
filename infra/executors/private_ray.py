"""A Ray of one job on this machine: started, if need be more than once, and ended whatever hangs."""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from syncflow.errors import UserError

STARTS = 3  # Ray itself waits 30 s for its node, which a busy machine may not have by then
SHUTDOWN_S = 60.0
PLACE_VARIABLE = "RAY_TMPDIR"
ADDRESS_FILE = "ray_current_cluster"


@contextmanager
def private_ray(*, num_cpus: int | None, log_to_driver: bool) -> Iterator[None]:
    """Ray for as long as the block lasts, for this process alone.

    Args:
        num_cpus: CPUs that it offers; None: those of the machine.
        log_to_driver: show what the workers print.

    Raises:
        UserError: it did not start, three times in a row.
    """
    import ray

    # a short path: the sockets of Ray live below it, and a socket's path has at most 107 characters
    place = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp" if Path("/tmp").is_dir() else None))
    folder = place / "ray"
    try:
        with _as_place_of_ray(place):
            _start(folder, num_cpus=num_cpus, log_to_driver=log_to_driver)
        (folder / ADDRESS_FILE).write_text(ray.get_runtime_context().gcs_address, encoding="utf-8")
        yield
    finally:
        _end(folder)
        shutil.rmtree(place, ignore_errors=True)


def _start(folder: Path, *, num_cpus: int | None, log_to_driver: bool) -> None:
    import ray

    reason = ""
    for start in range(1, STARTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=log_to_driver,
                logging_level=logging.ERROR,
                logging_config=ray.LoggingConfig(encoding="TEXT", log_level="ERROR"),
                _temp_dir=str(folder),
            )
            return
        except Exception as error:  # a plain `Exception` where the node is late
            reason = " ".join(str(error).split())[:200]
        _kill_services(folder)
        ray.shutdown()
        if start < STARTS:
            print(f"Ray did not start ({reason}); start {start + 1} of {STARTS}", flush=True)
    raise UserError(
        f"Ray did not start, {STARTS} times: {reason}; wait until the machine is less busy, or free memory "
        f"and space under {folder.parent.parent}, and run the same command again"
    )


@contextmanager
def _as_place_of_ray(place: Path) -> Iterator[None]:
    """What begins in the block looks for this Ray's address in `<place>/ray`, and not in `/tmp/ray`.

    An actor of Ray Train's asks the cluster for the state of another. Where another Ray runs on the machine,
    or has left its address there, it would ask that one, and end in a traceback.
    """
    with with_variable(PLACE_VARIABLE, str(place)):
        yield


@contextmanager
def with_variable(name: str, value: str) -> Iterator[None]:
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

    controls = [each for each in _services(folder) if _command(each)[:1][0].endswith("gcs_server")]
    guard = threading.Timer(SHUTDOWN_S, lambda: [control.kill() for control in controls])
    guard.start()
    try:
        ray.shutdown()
    finally:
        guard.cancel()


def _kill_services(folder: Path) -> None:
    """End what a start that failed has left: Ray would see to it at the end of this process only."""
    left = _services(folder)
    for service in left:
        with suppress(psutil.NoSuchProcess):
            service.kill()
    psutil.wait_procs(left, timeout=10)


def _services(folder: Path) -> list[psutil.Process]:
    """The processes below this one whose command names the folder of a Ray."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if str(folder) in " ".join(_command(process))]


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):  # it ended meanwhile
        return process.cmdline()
    return []
