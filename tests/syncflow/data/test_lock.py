import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from syncflow.data.parquet.lock import LOCK, check_lock, writer_lock
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


def test_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    holder = {"owner": "x", "host": "elsewhere", "pid": 1, "started": 0.0, "job": "7"}
    (tmp_path / LOCK).write_text(json.dumps(holder))
    with pytest.raises(UserError, match="on elsewhere"):
        writer_lock(tmp_path).__enter__()


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
