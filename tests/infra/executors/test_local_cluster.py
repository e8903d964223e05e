"""A private Ray ends with its block, also when its control service no longer answers."""

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
