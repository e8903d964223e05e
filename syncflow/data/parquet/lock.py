"""One writer per dataset or training folder: a lock file that names its owner."""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from syncflow.data.parquet.files import cannot_write, whole_file
from syncflow.errors import UserError

LOCK = "writer.lock"


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[str]:
    """Hold the folder's lock while the block runs; gives the owner's id, for `check_lock`.

    The lock of a process that is no more on this machine (a job that was killed) is taken over.

    Raises:
        UserError: another job holds it, or the folder cannot be written.
    """
    path = folder / LOCK
    me = {
        "owner": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": os.environ.get("RAY_JOB_ID", ""),
    }
    ready = folder / f".{LOCK}.{me['owner']}"
    with whole_file(ready) as stream:
        stream.write(json.dumps(me).encode())
    try:
        _take(path, ready)
    finally:
        ready.unlink()
    try:
        yield str(me["owner"])
    finally:
        if _owner(path) == me["owner"]:
            path.unlink()


def check_lock(folder: Path, *, owner: str) -> None:
    """Refuse to write for a job that no longer holds the folder (its driver died and another began).

    Raises:
        UserError: the lock is gone, or another job's.
    """
    if owner and _owner(folder / LOCK) != owner:
        raise UserError(f"{folder / LOCK}: this job no longer holds the folder; nothing more is written")


def _take(path: Path, ready: Path) -> None:
    for _ in range(3):
        try:
            _appear(ready, path)
            return
        except FileExistsError:
            holder = _read(path)
            if holder is None:  # half written, where there are no hard links
                time.sleep(1.0)
                holder = _read(path)
            if holder is None or _is_dead(holder):
                path.unlink(missing_ok=True)
                continue
            raise UserError(
                f"{path}: held by process {holder['pid']} on {holder['host']} (job {holder['job'] or '-'}); "
                "wait for it, or delete this file if that job is surely gone"
            ) from None
    raise UserError(f"{path}: other jobs are taking this folder at the same moment; try again")


def _appear(ready: Path, path: Path) -> None:
    """Let the lock appear with its content, or, on file systems without hard links, empty at first.

    Raises:
        FileExistsError: it is there already.
        UserError: the folder cannot be written.
    """
    try:
        os.link(ready, path)
    except FileExistsError:
        raise
    except OSError:
        try:
            with path.open("xb") as stream:
                stream.write(ready.read_bytes())
        except FileExistsError:
            raise
        except OSError as error:
            raise cannot_write(path, error) from None


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _owner(path: Path) -> str | None:
    return (_read(path) or {}).get("owner")


def _is_dead(holder: dict) -> bool:
    if holder["host"] != socket.gethostname():
        return False
    try:
        process = psutil.Process(holder["pid"])
        return (
            abs(process.create_time() - holder["started"]) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return True
