"""A private Ray ends with its block, even if its control service hangs, and minds no other Ray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HANGING = """
import os, signal, time
import psutil
from infra.executors import local_cluster
local_cluster.SHUTDOWN_S = 2
with local_cluster.cluster(num_cpus=1, log_to_driver=False):
    below = psutil.Process().children(recursive=True)
    (service,) = [process for process in below if process.cmdline()[0].endswith("gcs_server")]
    service.send_signal(signal.SIGSTOP)
    start = time.monotonic()
print("ended", time.monotonic() - start < 60, service.is_running())
"""


@pytest.mark.ray
def test_a_control_service_that_hangs_does_not_hold_the_job(repository: Path) -> None:
    command = [sys.executable, "-c", HANGING]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1] == "ended True False", done.stderr


ASKING = """
import ray
from infra.executors.local_cluster import cluster
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException

class Asks:
    def of(self, actor):
        try:
            get_actor(actor, timeout=10)
        except RayStateApiException:  # a private Ray serves no such page; Ray Train's actor goes on
            pass

with cluster(num_cpus=1, log_to_driver=False):
    asks = ray.remote(num_cpus=0)(Asks).remote()
    ray.get(asks.of.remote(asks._actor_id.hex()))
    print("asked")
"""


@pytest.mark.ray
def test_its_actors_find_it_beside_another_ray(repository: Path, tmp_path: Path) -> None:
    """Ray Train's own actors ask the cluster so; the address that another Ray has left is not theirs."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    environment = os.environ | {"PYTHONPATH": str(repository), "TMPDIR": str(tmp_path)}
    environment.pop("RAY_TMPDIR", None)
    command = [sys.executable, "-c", ASKING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == ["asked"], done.stderr[-3000:]
