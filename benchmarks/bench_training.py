"""What Ray, DeepSpeed, MLflow and saved states cost beside bare loops of the same model and data, in turns.

    PYTHONPATH=. python benchmarks/bench_training.py --output DIR

Three contestants train stage `audio`, each in processes of its own, and only one computes at a time:

- `stage`: train_stage.py's work on two workers of one thread (Ray Train, the preset's ZeRO, reading and
  pairing ahead, moving average, MLflow, progress, and in each turn a state, from its copy to its name);
- `two bare`: forward, backward, clipping and AdamW on batches that lie ready; two processes of one thread,
  whose gradients torch's DistributedDataParallel averages (gloo);
- `one bare`: the same in one process of two threads, with the batch of both.

Only steady steps count: the first turn does not, and start-up is a column of its own. Ray's own processes run
on beside the bare loops. Exit status 1 says that the goal is not met.
"""

import multiprocessing
import os
import statistics
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from random_latents import write_random
from resume_jobs import free_port
from rich.console import Console
from rich.table import Table

from infra.executors.local_cluster import QUIET
from infra.executors.ray_train import run_workers
from infra.launch.stage import StageJob, record_of
from infra.tracking.runs import close_run, opened_by
from infra.zero.engine import zero_engine
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config, with_absolute_paths
from syncflow.data.batches import LatentDataset
from syncflow.files import write_whole
from syncflow.training.distributed import rank
from syncflow.training.loop import Callback
from syncflow.training.stage.batches import training_batches
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective, stage_adamw
from syncflow.training.stage.run import run_stage, torch_engine
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model

Contestant = Literal["stage", "two bare", "one bare"]
CONTESTANTS: tuple[Contestant, ...] = ("stage", "two bare", "one bare")
GOAL = 1.1  # the stage's seconds a step over each bare loop's
FORKSERVER = multiprocessing.get_context("forkserver")  # which imports once for the three bare processes
PATIENCE_S = 600.0


class BenchConfig(Config):
    """What is trained, and how long."""

    preset: Path = Path("pipelines/configs/tiny/audio.yaml")
    """Training preset; its engine decides what is compared."""
    output: Path
    """A new folder, for random latents, turns and the stage."""
    batch_size: int = Field(default=8, ge=1)
    """Samples a step of each of the two workers."""
    block: int = Field(default=40, ge=2)
    """Steps of a turn; the stage saves a state in the middle of each."""
    repeats: int = Field(default=8, ge=3)
    """Turns of each; the first is not counted."""


class Turns:
    """Whose turn it is, in files of a folder that all processes see."""

    def __init__(self, folder: Path, name: Contestant) -> None:
        self.folder, self.name, self.number, self.began = folder, name, 0, 0.0

    def say_ready(self) -> None:
        """Start-up ends here."""
        if rank() == 0:
            write_whole(self.folder / f"ready {self.name}", str(time.time()))

    def await_turn(self) -> None:
        _await(self.folder / f"go {self.name} {self.number}")
        self.began = time.perf_counter()

    def end_turn(self) -> None:
        seconds = time.perf_counter() - self.began
        if rank() == 0:
            write_whole(self.folder / f"done {self.name} {self.number}", str(seconds))
        self.number += 1

    def give(self) -> float:
        """Let the contestant have its turn; its seconds, as it took them."""
        write_whole(self.folder / f"go {self.name} {self.number}", "")
        done = self.folder / f"done {self.name} {self.number}"
        _await(done)
        self.number += 1
        return float(done.read_text())


def _await(file: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not file.exists():
        if (parent := multiprocessing.parent_process()) is not None and not parent.is_alive():
            raise SystemExit("the benchmark has ended")
        if time.monotonic() > end:
            raise SystemExit(f"{file}: not there after {PATIENCE_S:.0f} s")
        time.sleep(0.002)


class InTurns(Callback):
    """Holds the stage's workers while another has its turn; turns end half way between two states."""

    def __init__(self, turns: Turns, *, block: int) -> None:
        self.turns, self.block = turns, block
        self.last = 0

    def on_start(self, *, start_step: int, steps: int) -> None:
        self.last = steps
        self.turns.say_ready()
        self.turns.await_turn()

    def on_step(self, step: int) -> None:
        if step % self.block != self.block // 2:
            return
        self.turns.end_turn()
        if step < self.last:
            self.turns.await_turn()


def train(job: StageJob) -> None:
    """One of the stage's workers."""
    config = job.config
    turns = InTurns(Turns(config.output / "turns", "stage"), block=config.checkpoint.every)
    callbacks: list[Callback] = [record_of(job)] if rank() == 0 else []
    make_engine = zero_engine if config.uses_zero else torch_engine
    run_stage(config, make_engine=make_engine, callbacks=[*callbacks, turns])


def train_barely(name: Contestant, number: int, config: TrainConfig, port: int, repeats: int) -> None:
    """One process of a bare loop."""
    torch.set_num_threads(1 if config.workers > 1 else 2)
    if config.workers > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.distributed.init_process_group("gloo", rank=number, world_size=config.workers)
    dataset, block = LatentDataset(config.data), config.checkpoint.every
    objective = FlowObjective(
        starting_model(config)[0],
        stage=STAGES[config.stage],
        flow=config.flow,
        spec=dataset.spec,
        frame_times=dataset.frame_times,
        seed=config.seed,
    )
    optimizer, parameters = stage_adamw(objective, config), list(objective.trained.parameters())
    batches = list(islice(training_batches(dataset, config, start_step=0), block))
    loss_of: torch.nn.Module = objective
    if config.workers > 1:
        loss_of = torch.nn.parallel.DistributedDataParallel(objective, forward_sync_buffers=False)
    turns = Turns(config.output / "turns", name)
    turns.say_ready()
    for _ in range(repeats):
        turns.await_turn()
        for batch in batches:
            optimizer.zero_grad()
            loss_of(batch)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm or float("inf"))
            optimizer.step()
        turns.end_turn()


def give_turns(folder: Path, bench: BenchConfig) -> None:
    """Let each contestant have its turns; the order of three is turned round from one time to the next."""
    turns = [Turns(folder, name) for name in CONTESTANTS]
    for number in range(bench.repeats):
        each_ms = {each.name: 1e3 * each.give() / steps_of(each.name, number, bench) for each in turns}
        told = ", ".join(f"{name} {each_ms[name]:.0f}" for name in CONTESTANTS)
        print(f"turn {number + 1} of {bench.repeats}, ms a step: {told}", flush=True)
        turns.reverse()


def steps_of(name: Contestant, number: int, bench: BenchConfig) -> int:
    """Steps of a turn: the stage's first one ends half way to its first state."""
    return bench.block // 2 if name == "stage" and number == 0 else bench.block


def measure(bench: BenchConfig) -> int:
    for name, value in {**QUIET, "OMP_NUM_THREADS": "1"}.items():
        os.environ.setdefault(name, value)
    output = bench.output.resolve()
    steps = bench.block // 2 + bench.block * (bench.repeats - 1)
    given = {"data": output / "latents", "output": output, "workers": 2, "steps": steps}
    given |= {"batch_size": bench.batch_size, "initialise_from": "none", "validate_every": 0}
    given |= {"checkpoint": {"every": bench.block}, "whitening_samples": 64}
    given |= {"tracking_uri": f"sqlite:///{output / 'mlflow.db'}"}
    config = with_absolute_paths(load_config(TrainConfig, bench.preset, given))
    write_random(config.data, clips=160, text_tokens=8, model=config.model, size=64)
    folder = output / "turns"
    for each in (config.folder, folder):
        each.mkdir(parents=True)
    job, began = StageJob(config=config), {"two bare": time.time(), "one bare": time.time()}
    processes = start_bare_loops(config, bench)
    for name in began:  # the stage starts alone
        _await(folder / f"ready {name}")
    began["stage"] = time.time()
    try:
        threading.Thread(target=give_turns, args=(folder, bench), daemon=True).start()
        run_workers(train, job, workers=2, storage=config.folder / "ray")
    finally:
        close_run(opened_by(job.attempt, config.folder), status="FINISHED")
        for process in processes:
            process.join(10)
            process.kill()
    return show(folder, bench, began=began)


def start_bare_loops(config: TrainConfig, bench: BenchConfig) -> list[multiprocessing.process.BaseProcess]:
    """Two processes that train together, and one alone."""
    alone = config.model_copy(update={"workers": 1, "batch_size": 2 * bench.batch_size})
    port = free_port()
    parts: list[tuple[Contestant, int, TrainConfig]] = [
        ("two bare", 0, config),
        ("two bare", 1, config),
        ("one bare", 0, alone),
    ]
    FORKSERVER.set_forkserver_preload(["syncflow.training.stage.run", "infra.launch.stage"])
    processes = [FORKSERVER.Process(target=train_barely, args=(*part, port, bench.repeats)) for part in parts]
    for process in processes:
        process.start()
    return list(processes)


def show(folder: Path, bench: BenchConfig, *, began: dict[str, float]) -> int:
    """The table; 1 if the goal is not met."""
    seconds = {
        name: [
            float((folder / f"done {name} {number}").read_text()) / steps_of(name, number, bench)
            for number in range(1, bench.repeats)
        ]
        for name in CONTESTANTS
    }
    table = Table("", "start-up, s", "ms a step", "stage / this", "quartiles", "goal", "")
    met = True
    for name, times in seconds.items():
        start_up = float((folder / f"ready {name}").read_text()) - began[name]
        row = [name, f"{start_up:.0f}", f"{1e3 * statistics.median(times):.1f}"]
        if name != "stage":
            ratios = [whole / bare for whole, bare in zip(seconds["stage"], times, strict=True)]
            low, ratio, high = statistics.quantiles(ratios, n=4)
            met &= ratio <= GOAL
            row += [f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", f"<= {GOAL:.2f}"]
            row += ["met" if ratio <= GOAL else "not met"]
        table.add_row(*row)
    Console(width=100).print(table)
    return 0 if met else 1


if __name__ == "__main__":
    run(lambda: measure(parse_arguments(BenchConfig, description=__doc__ or "")))
