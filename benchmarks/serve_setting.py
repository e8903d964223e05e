"""pipelines/serve.py and app.py as processes of their own, for what measures them or takes their picture."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psutil

from syncflow.serving.client import Client

ROOT = Path(__file__).resolve().parent.parent
MARKS = {
    "syncflow:replica": "replica",
    "syncflow:front": "front",
    "ProxyActor": "proxy",
    "ServeController": "controller",
    "serve.py": "driver",
}


class Server:
    """pipelines/serve.py or app.py as a process of its own."""

    def __init__(self, script: str, folder: Path, *flags: str) -> None:
        self.folder, self.begun = folder, time.monotonic()
        preset = ROOT / "pipelines/configs/tiny" / script.replace(".py", ".yaml")
        command = [sys.executable, f"pipelines/{script}", f"--config={preset}", f"--folder={folder}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*command, f"--port={(port := _free_port())}", *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.url, self.told = f"http://127.0.0.1:{port}", list[str]()
        self._reader = Thread(target=lambda: self.told.extend(self.process.stdout or ()), daemon=True)
        self._reader.start()
        self.client = Client(self.url, token="")

    def wait_until_healthy(self) -> float:
        """Seconds from the command to the first healthy answer."""
        while self.process.poll() is None and time.monotonic() < self.begun + 300:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return time.monotonic() - self.begun
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the server did not come up: {''.join(self.told[-20:])}")

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Its processes by what they do."""
        named: dict[str, list[psutil.Process]] = {}
        for process in [psutil.Process(self.process.pid), *self._children()]:
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            text = " ".join(words)
            name = next((name for mark, name in MARKS.items() if mark in text), "")
            if name:
                named.setdefault(name, []).append(process)
        return named

    def replicas(self) -> list[psutil.Process]:
        return self.processes().get("replica", [])

    def rss_mib(self) -> dict[str, float]:
        """Memory by what its processes do, MiB; the largest of each kind."""
        named = self.processes().items()
        return {name: max(each.memory_info().rss for each in group) / 2**20 for name, group in named}

    def cpu_s(self) -> float:
        """Processor time of all its living processes, seconds."""
        return sum(
            sum(each.cpu_times()[:2]) for each in [psutil.Process(self.process.pid), *self._children()]
        )

    def counter(self, name: str) -> float:
        """A number of /metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def end(self) -> tuple[int, float]:
        """SIGTERM; exit status and seconds until all of its processes are gone."""
        processes = [psutil.Process(self.process.pid), *self._children()]
        begun = time.monotonic()
        self.process.terminate()
        try:
            status = self.process.wait(120)
            left = psutil.wait_procs(processes, timeout=30)[1]
        finally:
            for process in processes:
                if process.is_running():
                    process.kill()
        if left:
            raise RuntimeError(f"processes outlived the server: {left}")
        self._reader.join(10)
        return status, time.monotonic() - begun

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def started(script: str, folder: Path, *flags: str) -> Iterator[Server]:
    """A healthy server; it is ended however the block ends."""
    server = Server(script, folder, *flags)
    try:
        server.wait_until_healthy()
        yield server
    finally:
        if server.process.poll() is None:
            server.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
