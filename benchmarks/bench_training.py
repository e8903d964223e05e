"""What Ray, DeepSpeed and logging cost beside a bare loop: a stage trains, and takes turns with one.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_training.py --data LATENTS --output DIR

One worker under Ray Train, in which blocks of the stage's own steps (reading and pairing ahead, ZeRO-1,
moving average, MLflow, progress) and of a bare loop's (forward, backward, clipping, AdamW on batches that
lie ready) follow each other; so both meet the same machine. States are not written in between.
"""

import copy
import statistics
import time
from pathlib import Path

import torch
from pydantic import Field

from infra.executors.ray_train import run_workers
from infra.launch.stage import StageJob, record_of
from infra.tracking.runs import close_run, opened_by
from infra.zero.engine import zero_engine
from syncflow.command_line import parse_arguments, run
from syncflow.config import Config, load_config, with_absolute_paths
from syncflow.data.batches import LatentDataset
from syncflow.training.loop import Callback
from syncflow.training.shares import batches_of
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective, stage_adamw
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model


class BenchConfig(Config):
    """What is trained, and how long."""

    preset: Path = Path("pipelines/configs/tiny/audio.yaml")
    """Training preset; its engine decides what is compared."""
    data: Path
    """Dataset of latents, as precompute_latents.py wrote it."""
    output: Path
    """Folder for the stage; it must not have trained there before."""
    batch_size: int = Field(default=16, ge=1)
    """Samples a step."""
    block: int = Field(default=5, ge=1)
    """Steps of each before the other's turn."""
    repeats: int = Field(default=8, ge=2)
    """Turns; the first is not counted."""


class BareLoop:
    """The stage's objective, AdamW and nothing else."""

    def __init__(self, config: TrainConfig, *, batches: int) -> None:
        dataset = LatentDataset(config.data)
        model = copy.deepcopy(starting_model(config)[0])
        stage = STAGES[config.stage]
        self.objective = FlowObjective(
            model,
            stage=stage,
            flow=config.flow,
            spec=dataset.spec,
            frame_times=dataset.frame_times,
            seed=config.seed,
        )
        self.optimizer = stage_adamw(self.objective, config)
        self.batches = [
            batch
            for step in range(batches)
            for batch in batches_of(
                dataset,
                config,
                update=range(step * config.update_samples, (step + 1) * config.update_samples),
                drop_probability=config.prompt_dropout,
            )
        ]

    def block(self) -> None:
        for batch in self.batches:
            self.optimizer.zero_grad()
            self.objective(batch)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(self.objective.trained.parameters(), 1.0)
            self.optimizer.step()


class Turns(Callback):
    """After each block of the stage's steps, one of the bare loop's."""

    def __init__(self, config: TrainConfig, *, block: int) -> None:
        self.bare, self.every = BareLoop(config, batches=block), block
        self.found: list[tuple[float, float]] = []  # seconds a step: the stage's, the bare loop's
        self.resumed = 0.0

    def on_start(self, *, start_step: int, steps: int) -> None:
        self.resumed = time.perf_counter()

    def on_step(self, step: int) -> None:
        if step % self.every:
            return
        start = time.perf_counter()
        self.bare.block()
        end = time.perf_counter()
        self.found.append(((start - self.resumed) / self.every, (end - start) / self.every))
        self.resumed = time.perf_counter()

    def on_end(self, step: int) -> None:
        counted = self.found[1:]
        stage, bare = (statistics.median(times) for times in zip(*counted, strict=True))
        ratio = statistics.median(whole / alone for whole, alone in counted)
        print(
            f"{len(counted)} turns of {self.every} steps: {1e3 * stage:.0f} ms a step under Ray, "
            f"{1e3 * bare:.0f} ms bare; median ratio {ratio:.3f}",
            flush=True,
        )


def train(job: StageJob) -> None:
    """One worker; its bare loop has as many steps a turn as the progress lines are apart."""
    config = job.config
    turns = Turns(config, block=config.log_every)
    run_stage(config, make_engine=zero_engine, callbacks=[record_of(job), turns])


def main() -> None:
    bench = parse_arguments(BenchConfig, description=__doc__ or "")
    steps = bench.block * bench.repeats
    given = {"data": bench.data, "output": bench.output, "workers": 1, "steps": steps}
    given |= {"batch_size": bench.batch_size, "initialise_from": "none", "log_every": bench.block}
    given |= {"checkpoint": {"every": steps}, "validate_every": 0}
    config = with_absolute_paths(load_config(TrainConfig, bench.preset, given))
    config.folder.mkdir(parents=True)
    job = StageJob(config=config)
    try:
        run_workers(train, job, workers=1, storage=config.folder / "ray")
    finally:
        run = opened_by(job.attempt, config.folder)
        close_run(run, status="FINISHED", artifacts=config.folder / "checkpoint")


if __name__ == "__main__":
    run(main)
