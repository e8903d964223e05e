import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from syncflow.data.parquet.lock import BEAT_S, LEASE_S, LOCK, check_lock, writer_lock
from syncflow.errors import UserError


def test_second_writer_is_refused_and_the_first_named(tmp_path: Path) -> None:
    with writer_lock(tmp_path), pytest.raises(UserError, match=f"held by process {os.getpid()} on"):
        writer_lock(tmp_path).__enter__()
    assert not list(tmp_path.iterdir())


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    holder = {"owner": "x", "host": socket.gethostname(), "pid": gone.pid, "job": ""}
    holder["started"] = psutil.Process(gone.pid).create_time()
    gone.wait()
    (tmp_path / LOCK).write_text(json.dumps(holder))
    with writer_lock(tmp_path) as owner:
        check_lock(tmp_path, owner=owner)


def test_lock_of_another_host_without_signs_of_life_is_respected(tmp_path: Path) -> None:
    holder = {"owner": "x", "host": "elsewhere", "pid": 1, "started": 0.0, "job": "7"}
    (tmp_path / LOCK).write_text(json.dumps(holder))
    with pytest.raises(UserError, match="on elsewhere"):
        writer_lock(tmp_path).__enter__()


ELSEWHERE = {"owner": "x", "host": "elsewhere", "pid": 1, "started": 0.0, "job": "7", "lease_s": LEASE_S}


def held_elsewhere(folder: Path, **changes: object) -> Path:
    """A lock of another machine, and its owner's sign of life."""
    (folder / LOCK).write_text(json.dumps(ELSEWHERE | changes))
    beat = folder / f".{LOCK}.x.beat"
    beat.write_text("1")
    return beat


@pytest.mark.parametrize("changes", [{}, {"host": socket.gethostname(), "space": "another container"}])
def test_lock_of_a_lost_machine_is_taken_over_after_its_lease(tmp_path: Path, changes, capsys) -> None:
    beat, slept = held_elsewhere(tmp_path, **changes), []
    with writer_lock(tmp_path, sleep=slept.append) as owner:
        check_lock(tmp_path, owner=owner)
    assert sum(slept) == LEASE_S and not beat.exists()
    assert "no sign of life for 120 s; taken over" in capsys.readouterr().out


def test_an_owner_on_another_machine_that_lives_is_respected(tmp_path: Path) -> None:
    beat, slept = held_elsewhere(tmp_path), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:  # a machine that was slow
            beat.write_text("2")

    with pytest.raises(UserError, match="process 1 on elsewhere"):
        writer_lock(tmp_path, sleep=sleep).__enter__()
    assert sum(slept) == 3 * BEAT_S and json.loads((tmp_path / LOCK).read_text())["owner"] == "x"


def test_a_lock_that_is_given_back_while_it_is_watched_is_taken_at_once(tmp_path: Path) -> None:
    held_elsewhere(tmp_path)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        (tmp_path / LOCK).unlink()

    with writer_lock(tmp_path, sleep=sleep) as owner:
        check_lock(tmp_path, owner=owner)
    assert slept == [BEAT_S]


def test_of_two_that_wait_for_a_lost_machine_one_is_refused(tmp_path: Path) -> None:
    held_elsewhere(tmp_path)
    other = ExitStack()

    def sleep(_: float) -> None:
        (tmp_path / LOCK).unlink()
        other.enter_context(writer_lock(tmp_path))

    with other, pytest.raises(UserError, match=f"held by process {os.getpid()} on"):
        writer_lock(tmp_path, sleep=sleep).__enter__()


def test_the_owner_shows_that_it_lives(tmp_path: Path) -> None:
    with writer_lock(tmp_path, beat_s=0.01) as owner:
        beat, seen = tmp_path / f".{LOCK}.{owner}.beat", set()
        for _ in range(1000):
            seen |= {beat.read_text()} if beat.exists() else set()
            if len(seen - {""}) > 2:
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"beats {seen}")
    assert not list(tmp_path.iterdir())


def test_a_worker_of_a_job_that_lost_the_lock_writes_nothing(tmp_path: Path) -> None:
    with writer_lock(tmp_path) as owner:
        check_lock(tmp_path, owner=owner)
    with pytest.raises(UserError, match="no longer holds"):
        check_lock(tmp_path, owner=owner)


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writer_lock(tmp_path):
        raise RuntimeError
    with writer_lock(tmp_path):
        pass


def test_a_file_system_without_hard_links_has_a_lock_too(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with writer_lock(tmp_path) as owner:
        check_lock(tmp_path, owner=owner)
        with pytest.raises(UserError, match=f"held by process {os.getpid()} on"):
            writer_lock(tmp_path).__enter__()
    assert not list(tmp_path.iterdir())
