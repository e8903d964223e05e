"""Kill a precompute job again and again, and show that the dataset is that of an unbroken job.

Drivers and workers get SIGKILL at random moments of their work; what was cut off is run again with the same
command. Afterwards every dataset must hold the unbroken one's (id, content hash) pairs, verify without a
fault, and a rerun must find nothing to do and change no byte. With `--nodes 2` a node of a simulated
cluster dies on the way instead.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import Field

from infra.local_cluster import QUIET
from syncflow.command_line import parse_arguments, run
from syncflow.config import Config
from syncflow.data.parquet import read_ledger
from syncflow.data.verify import find_faults
from syncflow.hashing import file_sha256

ROOT = Path(__file__).resolve().parent.parent
Executor = Literal["ray", "loop"]
TURNS: tuple[Executor, ...] = ("ray", "ray", "loop")  # the executors of successive datasets
RAY_VICTIMS = ("worker", "driver")  # in turns; the loop's driver is its own worker


class KillsConfig(Config):
    """Which job is killed, and how often."""

    output: Path = Path("out/check_kills")
    """Folder for the clips and the datasets; it must be new."""
    kills: int = Field(default=20, ge=0)
    """Kills in all: of workers and of drivers, under Ray and in the loop."""
    kills_a_job: int = Field(default=4, ge=1)
    """Most kills of one dataset before it may come to its end."""
    nodes: int = Field(default=1, ge=1, le=4)
    """Ray nodes simulated on this machine; with 2 or more, one of them dies, too."""
    clips: int = Field(default=24, ge=2)
    """Synthetic clips; a broken and an empty file come on top."""
    stages: Literal["fused", "split"] = "fused"
    """How Ray places the work."""
    seed: int = 0
    """Seed of the moments."""


@dataclass
class Check:
    """The clips, the unbroken dataset, and what was done to the others."""

    config: KillsConfig
    address: str = ""
    expected: dict[Any, str] = field(default_factory=dict)
    work_s: float = 0.0
    kills: list[str] = field(default_factory=list)
    started: dict[str, int] = field(default_factory=dict)

    def command(self, name: str, executor: str) -> list[str]:
        flags = {
            "config": ROOT / "pipelines/configs/tiny/precompute.yaml",
            "source.kind": "folder",
            "source.root": (self.config.output / "clips").absolute(),
            "output": (self.config.output / name).absolute(),
            "clips-per-shard": 2,
            "failure-budget": 1,
            "executor": executor,
            "stages": self.config.stages,
        }
        script = str(ROOT / "pipelines/precompute_latents.py")
        return [sys.executable, script, *(part for k, v in flags.items() for part in (f"--{k}", str(v)))]

    def start(self, name: str, executor: str) -> subprocess.Popen[bytes]:
        """A driver; what it prints is appended to a file."""
        environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["RAY_ADDRESS"] = self.address
        log = (self.config.output / f"{name}.log").open("ab")
        return subprocess.Popen(
            self.command(name, executor), cwd=ROOT, env=environment, stdout=log, stderr=log
        )

    def text(self, name: str) -> str:
        return (self.config.output / f"{name}.log").read_text(errors="replace")

    def finish(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.wait() != 0:
            raise SystemExit(f"job {name} ended with {process.returncode}:\n{self.text(name)[-3000:]}")

    def wait_for_work(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Until the driver, which has said so in earlier runs, says what there is to do."""
        self.started[name] = self.started.get(name, 0) + 1
        while process.poll() is None and self.text(name).count(" to do\n") < self.started[name]:
            time.sleep(0.05)

    def holds(self, name: str) -> dict[Any, str]:
        """(dataset, id) -> content hash, or what became of the clip."""
        rows = read_ledger(self.config.output / name / "ledger").values()
        return {row.key: row.content_sha256 or f"{row.kind}: {row.reason}" for row in rows}

    def compare(self, name: str) -> None:
        """Same set, no fault, and a rerun that does nothing.

        Raises:
            SystemExit: it is not so.
        """
        folder = self.config.output / name
        if self.holds(name) != self.expected:
            raise SystemExit(f"{folder}: not the unbroken dataset's (id, content hash) pairs")
        if faults := list(find_faults(folder)):
            raise SystemExit(f"{folder}: {len(faults)} faults, first: {faults[0]}")
        before = _hashes(folder)
        said = self.text(name).count(", 0 to do")
        self.finish(name, self.start(name, "loop"))
        if self.text(name).count(", 0 to do") != said + 1 or _hashes(folder) != before:
            raise SystemExit(f"{folder}: a rerun had something to do, or changed a file")

    def start_unbroken(self) -> None:
        """What is to come out, and how long the work takes."""
        process = self.start("unbroken", "loop")
        self.wait_for_work("unbroken", process)
        begin = time.monotonic()
        self.finish("unbroken", process)
        self.work_s = time.monotonic() - begin
        self.expected = self.holds("unbroken")
        print(f"unbroken: {len(self.expected)} clips in {self.work_s:.0f} s", flush=True)

    def run_with_kills(self, name: str, executor: Executor, *, kills: int, draw: random.Random) -> None:
        """One dataset, killed at most so often, and run again until it is done."""
        while True:
            process = self.start(name, executor)
            self.wait_for_work(name, process)
            while kills and process.poll() is None:
                time.sleep(draw.uniform(0, self.work_s))
                kind = RAY_VICTIMS[len(self.kills) % 2] if executor == "ray" else "loop"
                if process.poll() is None and (victim := _victim(kind, process.pid, draw)):
                    victim.kill()
                    kills -= 1
                    self.kills.append(kind)
                    done = len(self.holds(name))
                    print(f"kill {len(self.kills)}: {kind}, {name}: {done} clips committed", flush=True)
                    if kind != "worker":
                        process.wait()
            if process.wait() == 0:
                return self.compare(name)
            if process.returncode != -signal.SIGKILL:
                raise SystemExit(f"job {name} ended with {process.returncode}:\n{self.text(name)[-3000:]}")

    def run_with_a_dead_node(self, name: str, remove: Callable[[], None]) -> None:
        """One dataset, of whose nodes one dies as soon as something is committed."""
        process = self.start(name, "ray")
        while process.poll() is None and not self.holds(name):
            time.sleep(0.05)
        remove()
        print(f"node killed, {name}: {len(self.holds(name))} clips committed", flush=True)
        self.finish(name, process)
        self.compare(name)


def _victim(kind: str, driver: int, draw: random.Random) -> psutil.Process | None:
    """The driver, or one of the workers of this script's cluster; None where there is none yet."""
    if kind != "worker":
        return psutil.Process(driver)
    workers = [p for p in psutil.Process().children(recursive=True) if "RayWorker" in _title(p)]
    return draw.choice(workers) if workers else None


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _hashes(folder: Path) -> dict[str, str]:
    return {str(p): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def check(config: KillsConfig) -> None:
    """Everything that the configuration asks for.

    Raises:
        SystemExit: a dataset is not what it must be.
    """
    import ray
    from ray.cluster_utils import Cluster

    config.output.mkdir(parents=True)
    this = Check(config)
    make_clips(config)
    this.start_unbroken()
    draw = random.Random(config.seed)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2 if config.nodes == 1 else 0, "temp_dir": folder},
        )
        try:
            nodes = [cluster.add_node(num_cpus=1) for _ in range(config.nodes)] if config.nodes > 1 else []
            this.address = cluster.address
            if nodes:
                this.run_with_a_dead_node(
                    "nodes", lambda: cluster.remove_node(nodes[0], allow_graceful=False)
                )
            turn = 0
            while (left := config.kills - len(this.kills)) > 0:
                executor, kills = TURNS[turn % len(TURNS)], min(left, config.kills_a_job)
                this.run_with_kills(f"killed{turn}", executor, kills=kills, draw=draw)
                turn += 1
        finally:
            ray.shutdown()
            cluster.shutdown()
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(this.kills).items()))
    print(
        f"{len(this.kills)} kills ({told or 'none'}), {config.nodes} nodes: every dataset equals the "
        f"unbroken one ({len(this.expected)} clips), verifies, and a rerun does nothing"
    )


def make_clips(config: KillsConfig) -> None:
    """Synthetic clips, an empty file and one of noise."""
    script, preset = ROOT / "pipelines/make_demo_clips.py", ROOT / "pipelines/configs/tiny/clips.yaml"
    folder = config.output / "clips"
    flags = [f"--config={preset}", f"--output={folder}", f"--count={config.clips}", "--workers=1"]
    subprocess.run(
        [sys.executable, str(script), *flags],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))


if __name__ == "__main__":
    run(lambda: check(parse_arguments(KillsConfig, description=__doc__ or "")))
