"""A Ray head on loopback with token authentication, for as long as a block lasts."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

RAY = Path(sys.executable).parent / "ray"


@contextmanager
def ray_head(home: Path, *, cpus: int) -> Iterator[dict[str, str]]:
    """The environment of its clients. All processes of the head are ended, by id, however the block ends."""
    token = home / "token"
    token.write_text("a" * 64)
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    address = f"http://127.0.0.1:{(dashboard := _free_port())}"
    keep = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment = {
        **keep,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or Ray turns 127.0.0.1 into the address of the machine
        "RAY_worker_niceness": "0",  # Ray's own 15 starves workers where anything else runs
        "RAY_enable_metrics_collection": "0",  # every process would count and send them
        "OMP_NUM_THREADS": "1",
    }
    ports = [
        f"--port={_free_port()}",
        f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={_free_port()}",
        f"--dashboard-agent-listen-port={_free_port()}",
        "--node-ip-address=127.0.0.1",
        f"--num-cpus={cpus}",
    ]
    command = [str(RAY), "start", "--head", "--block", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"]
    with (home / "head.log").open("w") as log:
        process = subprocess.Popen([*command, *ports], env=environment, stdout=log, stderr=log)
    try:
        yield {**environment, "RAY_API_SERVER_ADDRESS": address}
    finally:
        # with a SIGTERM the head would wait ten seconds and more for actors that no job owns
        for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(timeout=15)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
