"""The server under Ray Serve as its users meet it: its start, many requests at once, and what goes wrong.

Every part starts pipelines/serve.py with the small model on this machine and speaks HTTP with it. `burst`:
all requests at once; `kill`: a replica is ended by SIGKILL while it makes clips; `hostile`: uploads that are
too large, no videos, or break off, and a job that is cancelled; `memory`: how the processes grow over more
requests; `end`: SIGTERM while clips are made. `start` times page and server from the command to the first
healthy answer. A table, and every figure in OUTPUT/bench_serve.json.
"""

import json
import os
import signal
import socket
import statistics
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field
from serve_setting import Server, started

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.hashing import file_sha256

PARTS = ("start", "burst", "kill", "hostile", "memory", "end")
UPLOAD_MIB = 8
STREAM = "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"


class ServeBenchConfig(Config):
    """What is measured, and with how many requests."""

    output: Path = Path("out/bench_serve")
    """Folder for the clips and the figures; it must be new."""
    parts: tuple[Literal["start", "burst", "kill", "hostile", "memory", "end"], ...] = PARTS
    """What is measured, in the order above."""
    replicas: int = Field(default=2, ge=1)
    """Replicas, a CPU core each."""
    requests: int = Field(default=100, ge=1, le=128)
    """Requests at once."""
    more: int = Field(default=200, ge=1)
    """Requests over which memory is watched."""
    steps: int = Field(default=2, ge=1)
    """Solver steps of each clip."""
    seconds: float = Field(default=0.5, gt=0)
    """Length of each clip, seconds."""
    starts: int = Field(default=1, ge=1)
    """Starts of page and server, in turns; the medians are told."""


class Bench:
    """One server and what is asked of it."""

    def __init__(self, config: ServeBenchConfig) -> None:
        self.config = config

    def flags(self) -> list[str]:
        wanted, most = self.config, self.config.replicas
        return [
            f"--replicas.least={most}",
            f"--replicas.most={most}",
            f"--limits.upload-mib={UPLOAD_MIB}",
            "--limits.kept=1000",
            f"--generate.solver.steps={wanted.steps}",
        ]

    def request(self, seed: int, **others: Any) -> dict[str, Any]:
        return {"prompt": "metal", "seed": seed, "seconds": self.config.seconds, **others}

    def all_at_once(self, server: Server, seeds: range) -> dict[str, Any]:
        """One thread per request; latencies, and what shows that each was made once."""
        barrier = Barrier(len(seeds))

        def one(seed: int) -> tuple[float, dict[str, Any]]:
            barrier.wait()
            begun = time.monotonic()
            job = server.client.submit(**self.request(seed))
            for now in server.client.progress(job, every_s=2.0):
                last = now
            return time.monotonic() - begun, last

        batches, clips = (server.counter(f"syncflow_batch_clips_{part}") for part in ("count", "sum"))
        begun = time.monotonic()
        with ThreadPoolExecutor(len(seeds)) as pool:
            found = list(pool.map(one, seeds))
        wall = time.monotonic() - begun
        files = [server.folder / "jobs" / job["id"] / "00000-0.json" for _, job in found]
        seeds_made = Counter(
            json.loads(file.read_text())["batch"][0]["seed"] for file in files if file.is_file()
        )
        seconds = sorted(each for each, _ in found)
        return {
            "requests": len(seeds),
            "done": sum(job["state"] == "done" for _, job in found),
            "different_jobs": len({job["id"] for _, job in found}),
            "each_seed_once": seeds_made == Counter(seeds),
            "different_clips": len({file_sha256(file.with_suffix(".mp4")) for file in files}),
            "clips_begun": server.counter("syncflow_batch_clips_sum") - clips,
            "batches": server.counter("syncflow_batch_clips_count") - batches,
            "wall_s": wall,
            "p50_s": statistics.median(seconds),
            "p95_s": float(np.percentile(seconds, 95)),
        }

    def kill(self, server: Server) -> dict[str, Any]:
        """One replica gets SIGKILL once it makes clips."""
        before = {each.pid for each in server.replicas()}
        victims: list[int] = []

        def strike() -> None:
            while not any(job["state"] == "running" and job["share"] > 0 for job in server.client.latest(50)):
                time.sleep(0.05)
            victims.append(server.replicas()[0].pid)
            os.kill(victims[0], signal.SIGKILL)

        thread = Thread(target=strike)
        thread.start()
        found = self.all_at_once(server, range(10_000, 10_020))
        thread.join()
        end = time.monotonic() + 120
        while len(now := {each.pid for each in server.replicas()}) < len(before) or victims[0] in now:
            if time.monotonic() > end:
                raise RuntimeError("no replica took the place of the one that was killed")
            time.sleep(0.5)
        return {
            **found,
            "clips_repeated": found["clips_begun"] - found["requests"],
            "told in /metrics": server.counter("syncflow_clips_lost_total"),
            "told in the log": sum("is given out again" in line for line in server.told),
        }

    def hostile(self, server: Server) -> dict[str, Any]:
        """Uploads that nobody should send, and a client that goes away."""
        before = server.rss_mib()
        url = urlsplit(server.url).netloc
        found: dict[str, Any] = {}
        for name, body in (
            ("html", b"<html>"),
            ("playlist", STREAM.encode()),
            ("nothing", b""),
            ("1 MiB too large", bytes((UPLOAD_MIB + 1) << 20)),
            ("512 MiB", bytes(512 << 20)),
        ):
            found[name] = _status_of(server, body)
        for _ in range(20):  # says 500 kB, sends 9 bytes, and goes
            host, port = url.split(":")
            with socket.create_connection((host, int(port))) as broken:
                head = f"POST /v1/videos HTTP/1.1\r\nHost: {url}\r\nContent-Length: 500000\r\n\r\n"
                broken.sendall(head.encode() + bytes(9))
        job = server.client.submit(**self.request(1, steps=100, preview=True))
        while server.client.status(job)["share"] == 0:
            time.sleep(0.1)
        begun = time.monotonic()
        found["cancelled"] = server.client.cancel(job)["state"]
        after = server.client.wait(server.client.submit(**self.request(2)))
        found["next clip after the cancelled one, s"] = time.monotonic() - begun
        found["next clip"] = after["state"]
        found["uploads left"] = len(list((server.folder / "videos").iterdir()))
        found["growth_mib"] = {name: rss - before[name] for name, rss in server.rss_mib().items()}
        return found

    def memory(self, server: Server) -> dict[str, Any]:
        """Memory of every kind of process before, on the way and after more requests."""
        each = self.config.more // 4
        marks = [server.rss_mib()]
        for quarter in range(4):
            begin = 20_000 + quarter * each
            self.all_at_once(server, range(begin, begin + each))
            marks.append(server.rss_mib())
        return {name: [round(mark[name]) for mark in marks] for name in marks[0]}

    def end(self, server: Server) -> dict[str, Any]:
        """SIGTERM while clips are made and others wait."""
        jobs = [server.client.submit(**self.request(30_000 + k, steps=20 + k)) for k in range(6)]
        while not any(server.client.status(job)["state"] == "running" for job in jobs):
            time.sleep(0.05)
        status, seconds = server.end()
        records = [server.folder / "jobs" / job["id"] / "job.json" for job in jobs]
        states = Counter(json.loads(record.read_text())["state"] for record in records)
        return {"exit_status": status, "seconds": seconds, "states": dict(states)}


def _status_of(server: Server, body: bytes) -> str:
    """How the server refuses an upload."""
    request = urllib.request.Request(f"{server.url}/v1/videos", data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return f"{answer.status}: accepted"
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read(200).decode(errors='replace').strip()}"
    except OSError as error:
        return f"closed ({error})"


def _start(config: ServeBenchConfig) -> dict[str, Any]:
    """Page and server with one replica, in turns."""
    found: dict[str, list[tuple[float, float]]] = {"app.py": [], "serve.py": []}
    for turn in range(config.starts):
        for script, times in found.items():
            server = Server(script, config.output / f"{script}-{turn}")
            try:
                times.append((server.wait_until_healthy(), server.cpu_s()))
            finally:
                server.end()
    return {
        script: {
            "wall_s": statistics.median(wall for wall, _ in times),
            "processor_s": statistics.median(cpu for _, cpu in times),
        }
        for script, times in found.items()
    }


def main() -> int:
    config = parse_arguments(ServeBenchConfig, description=__doc__ or "")
    config.output.mkdir(parents=True)
    bench, figures = Bench(config), dict[str, Any]()
    parts: dict[str, Callable[[Server], dict[str, Any]]] = {
        "burst": lambda server: bench.all_at_once(server, range(config.requests)),
        "kill": bench.kill,
        "hostile": bench.hostile,
        "memory": bench.memory,
        "end": bench.end,
    }

    def tell(name: str, found: dict[str, Any]) -> None:
        figures[name] = found
        print(name)
        for key, value in found.items():
            print(f"  {key:<28} {round(value, 2) if isinstance(value, float) else value}", flush=True)
        (config.output / "bench_serve.json").write_text(json.dumps(figures, indent=2) + "\n")

    if "start" in config.parts:
        tell("start", _start(config))
    wanted = [name for name in parts if name in config.parts]
    if wanted:
        with started("serve.py", config.output / "service", *bench.flags()) as server:
            for name in wanted:
                tell(name, parts[name](server))
    return 0


if __name__ == "__main__":
    run(main)
