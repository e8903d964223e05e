"""A training stage under Ray Train: what the driver does, and what each worker does."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from infra.executors.ray_train import run_workers
from infra.executors.supervisor import stopping
from infra.launch.ending import told_how_it_ends
from infra.tracking.run_record import RunRecord
from infra.tracking.runs import TrackedRun
from infra.tracking.stage import open_stage
from syncflow.config import with_absolute_paths
from syncflow.data.parquet.lock import LOCK, writer_lock
from syncflow.files import require_writable
from syncflow.training.distributed import rank
from syncflow.training.loop import Callback
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.identity import set_aside
from syncflow.training.stage.start import check_start

if TYPE_CHECKING:
    from syncflow.training.stage.objective import FlowObjective  # imports diffusers; only workers need it

NEEDS_GPU = "look at CUDA_VISIBLE_DEVICES, or train on CPUs with --no-engine.bf16 and few --workers"


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """What a worker is given."""

    config: TrainConfig
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)  # names the call in the run's note
    lock: str = ""  # of the stage's folder: the owner's id


def train_stage(config: TrainConfig, *, in_this_process: bool = False) -> Path:
    """Train a stage; the checkpoint's folder.

    Args:
        in_this_process: without Ray, where one worker and plain torch are asked for.

    Raises:
        UserError: data, first weights or settings do not fit, or another process trains in the folder.
        Interrupted: a signal asked to end; the workers did after the running step, with a state.
    """
    check_start(config)
    config = with_absolute_paths(config)
    require_writable(config.folder)
    with writer_lock(config.folder) as lock:
        _train(config, lock, in_this_process=in_this_process)
    return config.folder / "checkpoint"


def train_as_set(config: TrainConfig) -> Path:
    """In this process where one worker and plain torch are asked for, else under Ray Train."""
    return train_stage(config, in_this_process=config.workers == 1 and not config.uses_zero)


def _train(config: TrainConfig, lock: str, *, in_this_process: bool) -> None:
    if config.begin_again and (place := set_aside(config.folder, keep=LOCK)):
        print(f"beginning again; what was there is in {place}", flush=True)
    job = StageJob(config=config, lock=lock)
    folder, samples = config.folder, config.folder / "samples"
    with told_how_it_ends(folder, steps=config.steps, attempt=job.attempt, samples=samples) as stop:
        if in_this_process:
            assert config.workers == 1 and not config.uses_zero, "one worker, plain torch"
            with stopping(stop):
                train_worker(job)
        else:
            run_workers(
                train_worker,
                job,
                workers=config.workers,
                min_workers=config.min_workers,
                storage=folder / "ray",
                stop=stop,
                needs_gpu=NEEDS_GPU if config.engine.bf16 else "",
                max_failures=config.max_failures,
                cpus_per_worker=config.cpus_per_worker,
            )


def record_of(job: StageJob) -> RunRecord:
    """What rank 0 writes of the stage once it has begun."""
    config = job.config

    def open_run(goes_on: bool) -> TrackedRun | None:
        return open_stage(config, goes_on=goes_on, attempt=job.attempt)

    return RunRecord(config, folder=config.folder, open_run=open_run if config.tracking else None)


def train_worker(job: StageJob) -> None:
    """One worker: the stage with the engine that its settings name; rank 0 tracks."""
    from syncflow.training.stage.parts import torch_engine
    from syncflow.training.stage.run import run_stage

    config, callbacks = job.config, []
    if rank() == 0:
        callbacks.append(record_of(job))

    def watch(objective: "FlowObjective") -> list[Callback]:
        if not config.samples.every or rank():
            return []
        from syncflow.studies.stage_samples import StageSamples

        return [StageSamples(config, objective, reporters=callbacks)]

    make_engine = torch_engine
    if config.uses_zero:
        from infra.zero.engine import zero_engine as make_engine  # seconds to import
    run_stage(config, make_engine=make_engine, callbacks=callbacks, watch=watch, lock=job.lock)
