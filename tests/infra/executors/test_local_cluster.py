"""A private Ray imports beside the job, ends with its block though its services hang, and minds no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

SCRIPT = """
import os, signal, sys, time
import psutil
import ray
from infra.executors import local_cluster, private_ray
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException

class Asks:
    def of(self, actor):
        try:
            get_actor(actor, timeout=10)
        except RayStateApiException:  # a private Ray serves no such page; Ray Train's actor goes on
            pass

private_ray.SHUTDOWN_S = 2
with local_cluster.cluster_beside_imports("wave", num_cpus=1):
    print("imported", ray.get(ray.remote(lambda: "wave" in sys.modules).remote()))
    asks = ray.remote(num_cpus=0)(Asks).remote()
    ray.get(asks.of.remote(asks._actor_id.hex()))
    print("asked")
    below = psutil.Process().children(recursive=True)
    (service,) = [process for process in below if process.cmdline()[0].endswith("gcs_server")]
    service.send_signal(signal.SIGSTOP)
    start = time.monotonic()
print("ended", time.monotonic() - start < 60, service.is_running())
"""


@pytest.fixture(scope="module")
def ran(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A Ray beside the address that another has left, whose control service stops before its end."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    environment = os.environ | {"PYTHONPATH": str(repository), "TMPDIR": str(folder)}
    environment.pop("RAY_TMPDIR", None)
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def test_its_actors_find_it_beside_another_ray(ran: subprocess.CompletedProcess[str]) -> None:
    """Ray Train's own actors ask the cluster so; the address that another Ray has left is not theirs."""
    assert "asked" in ran.stdout.splitlines(), ran.stderr[-3000:]


def test_its_workers_import_what_the_job_does(ran: subprocess.CompletedProcess[str]) -> None:
    assert "imported True" in ran.stdout.splitlines(), ran.stderr[-3000:]


def test_a_control_service_that_hangs_does_not_hold_the_job(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.stdout.splitlines()[-1:] == ["ended True False"], ran.stderr[-3000:]
