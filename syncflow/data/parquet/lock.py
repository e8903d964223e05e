"""One writer per dataset or training folder: a lock file that names its owner, who shows that it lives.

On its owner's machine a lock is judged by the process that it names. Another machine cannot see that process;
so the owner counts in a file beside the lock every `BEAT_S` seconds, and whoever wants the folder watches
that file for `LEASE_S` seconds by its own clock: the machines' clocks need not agree.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import psutil

from syncflow.errors import UserError
from syncflow.files import cannot_write, whole_file

LOCK = "writer.lock"
BEAT_S = 10.0
LEASE_S = 120.0  # without a beat: the owner's machine is gone


@contextlib.contextmanager
def writer_lock(
    folder: Path, *, beat_s: float = BEAT_S, sleep: Callable[[float], object] = time.sleep
) -> Iterator[str]:
    """Hold the folder's lock while the block runs; gives the owner's id, for `check_lock`.

    The lock of a job that is no more is taken over: at once where its process was on this machine, and after
    `LEASE_S` seconds without a beat where it was on another.

    Args:
        beat_s: seconds between signs of life.
        sleep: waits between two looks at another owner's.

    Raises:
        UserError: another job holds it, or the folder cannot be written.
    """
    path = folder / LOCK
    me = {
        "owner": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "space": _process_space(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": os.environ.get("RAY_JOB_ID", ""),
        "lease_s": LEASE_S,
    }
    ready = folder / f".{LOCK}.{me['owner']}"
    with _beating(_beat_file(folder, me), every_s=beat_s):
        with whole_file(ready) as stream:
            stream.write(json.dumps(me).encode())
        try:
            _take(path, ready, sleep=sleep)
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


def _take(path: Path, ready: Path, *, sleep: Callable[[float], object]) -> None:
    for _ in range(3):
        try:
            _appear(ready, path)
            return
        except FileExistsError:
            holder = _read(path)
            if holder is None:  # half written, where there are no hard links
                sleep(1.0)
                holder = _read(path)
            fate = "dead" if holder is None else _fate(holder, path, sleep=sleep)
            if holder is not None and fate == "lives":
                remedy = "wait for it, or delete this file if that job is surely gone"
                raise UserError(f"{path}: held by {_named(holder)}; {remedy}") from None
            if fate == "dead" and _read(path) == holder:  # and not another's that was faster
                path.unlink(missing_ok=True)
                if holder is not None:
                    _beat_file(path.parent, holder).unlink(missing_ok=True)
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


def _named(holder: dict) -> str:
    return f"process {holder['pid']} on {holder['host']} (job {holder['job'] or '-'})"


def _fate(holder: dict, path: Path, *, sleep: Callable[[float], object]) -> Literal["lives", "dead", "gone"]:
    """What became of the lock's owner; gone: it gave the folder back, or another has it by now."""
    here = (socket.gethostname(), _process_space())
    if (holder["host"], holder.get("space", here[1])) == here:
        return "lives" if _runs(holder) else "dead"
    lease_s = holder.get("lease_s")
    if lease_s is None:  # an owner of an earlier version, which shows no beats
        return "lives"
    print(f"{path}: held by {_named(holder)}; looking for {lease_s:.0f} s whether it lives", flush=True)
    beat_file, waited = _beat_file(path.parent, holder), 0.0
    beat = _text(beat_file)
    while waited < lease_s:
        sleep(BEAT_S)
        waited += BEAT_S
        if not path.exists() or (_owner(path) or holder["owner"]) != holder["owner"]:
            return "gone"
        if _text(beat_file) != beat:
            return "lives"
    print(f"{path}: no sign of life for {lease_s:.0f} s; taken over", flush=True)
    return "dead"


def _runs(holder: dict) -> bool:
    """Whether the owner's process is there, on this machine."""
    try:
        process = psutil.Process(holder["pid"])
        return (
            abs(process.create_time() - holder["started"]) <= 1.0 and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _process_space() -> str:
    """Tells apart machines and containers of one name: a number names another process in each."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _beat_file(folder: Path, holder: dict) -> Path:
    return folder / f".{LOCK}.{holder['owner']}.beat"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


@contextlib.contextmanager
def _beating(path: Path, *, every_s: float) -> Iterator[None]:
    """Count in a file from a thread while the block runs; the file is gone afterwards."""
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.is_set():
            count += 1
            with contextlib.suppress(OSError):  # storage that is away for less than the lease costs nothing
                path.write_text(str(count), encoding="ascii")
            over.wait(every_s)

    thread = threading.Thread(target=beat, name="writer lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink()
