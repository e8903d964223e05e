"""A Ray that does not start is tried again, leaves no process behind, and is one line in the end."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from infra.executors import private_ray as module
from infra.executors.local_cluster import cluster
from infra.executors.private_ray import private_ray
from syncflow.errors import UserError

LATE = "The current node timed out during startup.\nThe GCS may be overloaded."


class LateRay:
    """`ray.init` on a busy machine: begins a service, and gives up before it answers."""

    def __init__(self) -> None:
        self.services: list[subprocess.Popen[bytes]] = []

    def init(self, *, _temp_dir: str, **_given: object) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(600)", _temp_dir]
        self.services.append(subprocess.Popen(command))
        raise Exception(LATE)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[LateRay]:
    import ray

    late = LateRay()
    monkeypatch.setattr(ray, "init", late.init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield late
    for service in late.services:
        service.kill()
        service.wait()


def test_three_late_starts_are_one_line_and_leave_no_process(
    late: LateRay, capsys: pytest.CaptureFixture[str]
) -> None:
    told = r"^Ray did not start, 3 times: The current node timed out.* again$"
    with pytest.raises(UserError, match=told), private_ray(num_cpus=1, log_to_driver=False):
        raise AssertionError("it did not start")
    assert len(late.services) == module.STARTS
    assert not [each for each in late.services if psutil.pid_exists(each.pid) and each.poll() is None]
    assert "start 2 of 3" in capsys.readouterr().out


def test_what_ends_a_start_otherwise_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def stop(**_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "init", stop)
    with pytest.raises(KeyboardInterrupt), private_ray(num_cpus=1, log_to_driver=False):
        raise AssertionError("it did not start")


def test_an_address_at_which_nothing_answers_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    told = r"^RAY_ADDRESS 127\.0\.0\.1:1: no Ray answers there .* unset RAY"
    with pytest.raises(UserError, match=told), cluster():
        raise AssertionError("nothing answers")
