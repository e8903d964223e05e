"""Kill a precompute job again and again, and show that the dataset is that of an unbroken job.

Drivers and workers get SIGKILL at random moments of their work; what was cut off is run again with the same
command. Afterwards every dataset must hold the unbroken one's (id, content hash) pairs, verify without a
fault, and a rerun must find nothing to do and change no byte. With `--nodes 2` a node of a simulated
cluster dies on the way instead.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
from kills_setting import make_clips, ray_nodes
from pydantic import Field

from infra.executors.local_cluster import QUIET
from preprocessing.config import PrecomputeConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.data.parquet import read_ledger
from syncflow.data.verify import find_faults
from syncflow.hashing import file_sha256

ROOT = Path(__file__).resolve().parent.parent
Executor = Literal["ray", "loop"]
RAY_VICTIMS = ("worker", "driver")  # in turns; the loop's driver is its own worker
MULTI = multiprocessing.get_context("forkserver")  # drivers begin with everything imported
Driver = multiprocessing.process.BaseProcess


class KillsConfig(Config):
    """Which job is killed, and how often."""

    output: Path = Path("out/check_kills")
    """Folder for the clips and the datasets; it must be new."""
    kills: int = Field(default=20, ge=0)
    """Kills in all: of workers and of drivers."""
    kills_a_job: int = Field(default=5, ge=1)
    """Most kills of one dataset before it may come to its end."""
    executor: Literal["ray", "loop", "both"] = "both"
    """What runs the jobs; both: datasets in turns."""
    nodes: int = Field(default=1, ge=1, le=4)
    """Ray nodes simulated on this machine; with 2 or more, one of them dies, too."""
    clips: int = Field(default=24, ge=2)
    """Synthetic clips; a broken and an empty file come on top."""
    size: int = 128
    """Rows and columns of the clips, pixels."""
    stages: Literal["fused", "split"] = "fused"
    """How Ray places the work."""
    seed: int = 0
    """Seed of the moments."""


def drive(config: PrecomputeConfig, log: Path, address: str) -> None:
    """What a driver process does: the job, with what it prints in a file."""
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    from infra.executors.ray_data import RayExecutor
    from preprocessing.job import precompute, run_in_loop

    os.environ["RAY_ADDRESS"] = address
    sys.exit(precompute(config, execute=run_in_loop if config.executor == "loop" else RayExecutor(config)))


@dataclass
class Check:
    """The clips, the unbroken dataset, and what was done to the others."""

    config: KillsConfig
    address: str = ""
    expected: dict[Any, str] = field(default_factory=dict)
    work_s: dict[Executor, float] = field(default_factory=dict)  # of an unkilled job
    kills: list[str] = field(default_factory=list)
    started: Counter[str] = field(default_factory=Counter)

    def start(self, name: str, executor: Executor) -> Driver:
        """A driver that makes the dataset, or goes on with it."""
        folder = self.config.output.absolute()
        values = {
            "source": {"kind": "folder", "root": str(folder / "clips")},
            "output": str(folder / name),
            "clips_per_shard": 2,
            "failure_budget": 1,
            "executor": executor,
            "stages": self.config.stages,
        }
        config = load_config(PrecomputeConfig, ROOT / "pipelines/configs/tiny/precompute.yaml", values)
        process = MULTI.Process(target=drive, args=(config, folder / f"{name}.log", self.address))
        process.start()
        self.started[name] += 1
        while process.is_alive() and self.text(name).count(" to do\n") < self.started[name]:
            time.sleep(0.02)
        return process

    def text(self, name: str) -> str:
        log = self.config.output / f"{name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def finish(self, name: str, process: Driver) -> None:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"job {name} ended with {process.exitcode}:\n{self.text(name)[-3000:]}")

    def holds(self, name: str) -> dict[Any, str]:
        """(dataset, id) -> content hash, or what became of the clip."""
        rows = read_ledger(self.config.output / name / "ledger").values()
        return {row.key: row.content_sha256 or f"{row.kind}: {row.reason}" for row in rows}

    def compare(self, name: str, executor: Executor) -> None:
        """Same set, no fault, and a rerun that does nothing.

        Raises:
            SystemExit: it is not so.
        """
        folder = self.config.output / name
        if self.holds(name) != self.expected:
            raise SystemExit(f"{folder}: not the unbroken dataset's (id, content hash) pairs")
        if faults := list(find_faults(folder)):
            raise SystemExit(f"{folder}: {len(faults)} faults, first: {faults[0]}")
        before, said = _hashes(folder), self.text(name).count(", 0 to do")
        self.finish(name, self.start(name, executor))
        if self.text(name).count(", 0 to do") != said + 1 or _hashes(folder) != before:
            raise SystemExit(f"{folder}: a rerun had something to do, or changed a file")

    def make_unbroken(self, executor: Executor) -> None:
        """What is to come out (the loop's word counts), and how long the work takes."""
        name = f"unbroken_{executor}"
        process, begin = self.start(name, executor), time.monotonic()
        self.finish(name, process)
        self.work_s[executor] = time.monotonic() - begin
        self.expected = self.expected or self.holds(name)
        self.compare(name, executor)
        print(
            f"unbroken, {executor}: {len(self.expected)} clips in {self.work_s[executor]:.0f} s", flush=True
        )

    def make_with_kills(self, name: str, executor: Executor, *, kills: int, draw: random.Random) -> None:
        """One dataset, killed at most so often, and run again until it is done."""
        while True:
            process, begin = self.start(name, executor), time.monotonic()
            while kills and process.is_alive():
                self.let_run(name, process, longest_s=self.work_s[executor], draw=draw)
                kind = RAY_VICTIMS[len(self.kills) % 2] if executor == "ray" else "loop"
                if process.is_alive() and (victim := _victim(kind, process, draw)):
                    victim.kill()
                    kills -= 1
                    self.kills.append(kind)
                    done = len(self.holds(name))
                    print(f"kill {len(self.kills)}: {kind}, {name}: {done} clips committed", flush=True)
                    if kind != "worker":
                        process.join()
            process.join()
            if process.exitcode != -signal.SIGKILL:
                took = time.monotonic() - begin  # the machine may have been busy before
                self.work_s[executor] = min(self.work_s[executor], took)
                self.finish(name, process)
                return self.compare(name, executor)

    def let_run(self, name: str, process: Driver, *, longest_s: float, draw: random.Random) -> None:
        """Until a moment drawn from all of the job's time, or from that in which clips are committed."""
        if draw.random() < 0.5:
            return process.join(draw.uniform(0, longest_s))
        wanted = draw.randint(len(self.holds(name)), len(self.expected))
        while process.is_alive() and len(self.holds(name)) < wanted:
            process.join(0.05)
        process.join(draw.uniform(0, 1.0))

    def make_with_a_dead_node(self, name: str, remove: Callable[[], None]) -> None:
        """One dataset, of whose nodes one dies as soon as something is committed."""
        process = self.start(name, "ray")
        while process.is_alive() and not self.holds(name):
            time.sleep(0.05)
        remove()
        print(f"node killed, {name}: {len(self.holds(name))} clips committed", flush=True)
        self.finish(name, process)
        self.compare(name, "ray")


def _victim(kind: str, driver: Driver, draw: random.Random) -> psutil.Process | None:
    """The driver, or one of the workers of this script's cluster; None where there is none yet."""
    if kind != "worker":
        return psutil.Process(driver.pid)
    workers = [p for p in psutil.Process().children(recursive=True) if "MapBatches" in _title(p)]
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
    config.output.mkdir(parents=True)
    os.environ.update({**QUIET, "OMP_NUM_THREADS": "1"})
    MULTI.set_forkserver_preload(["preprocessing.job", "infra.executors.ray_data", "ray.data"])
    this, draw = Check(config), random.Random(config.seed)
    make_clips(config.output / "clips", count=config.clips, size=config.size)
    this.make_unbroken("loop")
    turns: list[Executor] = ["loop", "ray"] if config.executor == "both" else [config.executor]
    with ExitStack() as stack:
        if "ray" in turns:
            cluster = stack.enter_context(ray_nodes(config.nodes))
            this.address = cluster.address
            this.make_unbroken("ray")
            if config.nodes > 1:
                node = next(iter(cluster.worker_nodes))
                this.make_with_a_dead_node("nodes", lambda: cluster.remove_node(node, allow_graceful=False))
        turn = 0
        while (left := config.kills - len(this.kills)) > 0:
            executor, kills = turns[turn % len(turns)], min(left, config.kills_a_job)
            this.make_with_kills(f"killed{turn}", executor, kills=kills, draw=draw)
            turn += 1
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(this.kills).items()))
    print(
        f"{len(this.kills)} kills ({told or 'none'}), {config.nodes} nodes: every dataset equals the "
        f"unbroken one ({len(this.expected)} clips), verifies, and a rerun does nothing"
    )


if __name__ == "__main__":
    run(lambda: check(parse_arguments(KillsConfig, description=__doc__ or "")))
