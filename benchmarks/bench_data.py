"""Time the data: a whole Ray job against the same work in a process pool, and the training reader.

    PYTHONPATH=. python benchmarks/bench_data.py --part reader

Rivals run in turns in one run, each as a fresh process from its start to its end, and medians are compared.
"""

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmarks.goals import Figure, print_goals
from preprocessing.config import PrecomputeConfig
from preprocessing.worker import ShardWorker, Work
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.data.parquet import LedgerRow
from syncflow.records import ClipRef, StoredClip

ROOT = Path(__file__).resolve().parent.parent
Rival = Literal["pool", "ray", "ray_split"]
WINDOWS = 4  # of each clip
LEAST_OF_POOL = 0.85  # the speed of a whole Ray job of 80 clips


class BenchConfig(Config):
    """What is timed."""

    clips: Path = Path("out/demo/clips")
    """Folder of clips, as make_demo_clips.py writes it."""
    output: Path = Path("out/bench_data")
    """Folder for the datasets; the last one of each rival stays."""
    workers: int = Field(default=2, ge=1)
    """Processes of the pool, and CPUs that Ray is given."""
    repeats: int = Field(default=3, ge=1)
    """Rounds; each runs every rival once."""
    rivals: tuple[Rival, ...] = ("pool", "ray")
    """What runs the job."""
    batch: int = Field(default=16, ge=1)
    """Windows of a batch of the reader."""
    part: Literal["jobs", "reader", "all"] = "all"
    """`jobs`: precompute under the rivals; `reader`: the training reader at the paper's sizes."""
    windows: int = Field(default=1_000_000, ge=1000)
    """Windows of the made-up dataset whose opening is timed."""
    random_clips: int = Field(default=2500, ge=100)
    """Windows of random latents of the paper's size, 0.36 MB each, that are read."""
    only: Literal["", "pool", "ray", "ray_split"] = ""
    """Run this rival once, and time nothing (what the benchmark itself calls)."""


def job(config: BenchConfig, rival: Rival) -> PrecomputeConfig:
    """The job of the tiny preset over the clips."""
    values = {
        "source": {"kind": "folder", "root": str(config.clips.absolute())},
        "output": str(config.output.absolute() / rival),
        "failure_budget": 1,
        "windows": {"mode": "sampled", "count": WINDOWS},
        "stages": "split" if rival == "ray_split" else "fused",
    }
    return load_config(PrecomputeConfig, ROOT / "pipelines/configs/tiny/precompute.yaml", values)


class PoolExecutor:
    """The same workers in a process pool (an `Execute` of `preprocessing.job`)."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, work: Work, groups: list[list[ClipRef | StoredClip]]) -> Iterator[list[LedgerRow]]:
        """What each group's worker committed, in order."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(work,)) as pool:
            yield from pool.map(_work_on, groups)


_worker: ShardWorker | None = None


def _begin(work: Work) -> None:
    global _worker
    import torch

    torch.set_num_threads(1)
    _worker = ShardWorker(work)


def _work_on(group: list[ClipRef | StoredClip]) -> list[LedgerRow]:
    assert _worker is not None
    return _worker(group)


def run_rival(config: BenchConfig, rival: Rival) -> int:
    """The whole job, in this process and its workers."""
    settings = job(config, rival)
    if rival == "pool":
        from preprocessing.job import precompute

        return precompute(settings, execute=PoolExecutor(config.workers))
    from infra.executors.ray_data import RayExecutor

    with RayExecutor(settings).started(num_cpus=config.workers) as execute:
        from preprocessing.job import precompute

        return precompute(settings, execute=execute)


def time_rival(config: BenchConfig, rival: Rival) -> tuple[float, float]:
    """Seconds from the start of the job's process to its end, and from its first commit to its last."""
    folder = config.output / rival
    shutil.rmtree(folder, ignore_errors=True)
    flags = [f"--clips={config.clips}", f"--output={config.output}", f"--workers={config.workers}"]
    command = [sys.executable, str(Path(__file__)), *flags, f"--only={rival}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - begin
    commits = sorted(path.stat().st_mtime for path in (folder / "ledger").glob("*.parquet"))
    return whole, commits[-1] - commits[0]


def compare(config: BenchConfig) -> list[Figure]:
    """Each rival's speed beside the first rival's, by medians, which it prints."""
    rounds: dict[Rival, list[tuple[float, float]]] = {rival: [] for rival in config.rivals}
    for turn in range(config.repeats):
        for rival in config.rivals[turn % 2 :: 1] + config.rivals[: turn % 2]:
            rounds[rival].append(time_rival(config, rival))
            whole, steady = rounds[rival][-1]
            print(
                f"round {turn}, {rival}: {whole:.1f} s whole, {steady:.1f} s first to last commit", flush=True
            )
    first = [statistics.median(times) for times in zip(*rounds[config.rivals[0]], strict=True)]
    figures = []
    for rival, times in rounds.items():
        whole, steady = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{rival}: {whole:.1f} s whole ({first[0] / whole:.2f}x of {config.rivals[0]}), "
            f"{steady:.1f} s from first to last commit ({first[1] / steady:.2f}x)"
        )
        if rival != config.rivals[0]:
            what = f"whole job of {rival}, of {config.rivals[0]}'s speed"
            goal = LEAST_OF_POOL if rival == "ray" else None
            figures.append(Figure(what=what, value=first[0] / whole, goal=goal, better="more"))
    return figures


def step_of_training(config: BenchConfig) -> None:
    """Print what a step of the tiny joint stage takes, forward and backward, on batches of the same size."""
    from syncflow.data.batches import LatentDataset
    from syncflow.model.dual_dit import DualDiT
    from syncflow.training.stage.config import TrainConfig
    from syncflow.training.stage.objective import FlowObjective
    from syncflow.training.stage.stages import STAGES

    dataset = LatentDataset(config.output / config.rivals[0])
    values = {"data": str(dataset.folder)}
    settings = load_config(TrainConfig, ROOT / "pipelines/configs/tiny/joint.yaml", values)
    model = DualDiT(**settings.model.model_dump())
    stage = STAGES["joint"]
    objective = FlowObjective(
        model, stage=stage, flow=settings.flow, spec=dataset.spec, frame_times=dataset.frame_times, seed=0
    )
    times = []
    for step in range(4):
        batch = dataset.batch(step, batch_size=config.batch)
        begin = time.process_time()
        objective(batch)["loss"].backward()
        times.append(time.process_time() - begin)
    print(f"a step of the tiny joint stage: {1000 * statistics.median(times[1:]):.0f} ms")


def main() -> int:
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    if config.only:
        return run_rival(config, config.only)
    figures: list[Figure] = []
    if config.part in ("jobs", "all"):
        figures += compare(config)
        step_of_training(config)
    if config.part in ("reader", "all"):
        from benchmarks.reader_figures import open_elsewhere, open_many, read_batches

        figures += open_many(config.output / "made_up", windows=config.windows)
        folder = config.output / f"random_{config.random_clips}"
        figures += read_batches(folder, clips=config.random_clips, batch=config.batch, repeats=config.repeats)
        figures += open_elsewhere(folder)
    print_goals(figures)
    return 0


if __name__ == "__main__":
    run(main)
