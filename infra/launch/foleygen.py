"""Train FoleyGen under Ray Train: the lock, the workers, the engine that the settings name, MLflow."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from infra.executors.ray_train import run_workers
from infra.executors.supervisor import stopping
from infra.launch.ending import told_how_it_ends
from infra.tracking.run_record import RunRecord
from infra.tracking.runs import DataUsed, TrackedRun, open_run
from syncflow.config import settings_of, with_absolute_paths
from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.lock import writer_lock
from syncflow.files import require_writable
from syncflow.foleygen.table import CodesManifest
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.hashing import settings_sha256
from syncflow.training.distributed import rank
from syncflow.training.loop import Callback

NEEDS_GPU = "look at CUDA_VISIBLE_DEVICES, or train on CPUs with --no-engine.bf16 and few --workers"


@dataclass(frozen=True, kw_only=True)
class FoleyGenJob:
    """What a worker is given."""

    config: FoleyGenTrainConfig
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)  # names the call in the run's note
    lock: str = ""  # of the output folder: the owner's id


def train_foleygen(config: FoleyGenTrainConfig) -> Path:
    """Train to `config.output`; the checkpoint's folder. A run that was cut goes on from its last state.

    One worker with the plain engine trains in this process, without Ray.

    Raises:
        UserError: data or settings do not fit, or another process trains in the folder.
        Interrupted: a signal asked to end; the workers did after the running step, with a state.
    """
    config = with_absolute_paths(config)
    CodesManifest.read(config.table)  # before Ray starts
    require_writable(config.output)
    with writer_lock(config.output) as lock:
        _train(FoleyGenJob(config=config, lock=lock))
    return config.output / "checkpoint"


def _train(job: FoleyGenJob) -> None:
    config = job.config
    with told_how_it_ends(config.output, steps=config.steps, attempt=job.attempt) as stop:
        if config.workers == 1 and not config.uses_zero:
            with stopping(stop):
                train_worker(job)
        else:
            run_workers(
                train_worker,
                job,
                workers=config.workers,
                storage=config.output / "ray",
                stop=stop,
                needs_gpu=NEEDS_GPU if config.engine.bf16 else "",
                max_failures=config.max_failures,
            )


def train_worker(job: FoleyGenJob) -> None:
    """One worker; rank 0 tracks."""
    from syncflow.foleygen.objective import CodeObjective
    from syncflow.foleygen.run import CodeEngine, run_foleygen, torch_engine

    config = job.config
    callbacks: list[Callback] = []
    if rank() == 0:

        def open_it(goes_on: bool) -> TrackedRun | None:
            return _open_run(job, goes_on=goes_on)

        callbacks.append(
            RunRecord(config, folder=config.output, open_run=open_it if config.tracking else None)
        )

    def zero_engine(objective: CodeObjective, config: FoleyGenTrainConfig) -> CodeEngine:
        from infra.zero.engine import ZeroEngine  # seconds to import
        from syncflow.training.finite import UpdateGuard
        from syncflow.training.schedule import adamw, learning_rate
        from syncflow.training.shares import passes_of

        return ZeroEngine(
            objective,
            optimizer=adamw(objective, config=config.optimizer),
            schedule=learning_rate(config.optimizer, steps=config.steps),
            zero_stage=config.engine.zero_stage,
            micro_batch=config.batch_size,
            accumulate=passes_of(config),
            clip_norm=config.optimizer.clip_norm,
            bf16=config.engine.bf16,
            communication=config.engine.communication,
            guard=UpdateGuard(limit=config.optimizer.skip_not_finite),
        )

    make_engine = zero_engine if config.uses_zero else torch_engine
    run_foleygen(config, make_engine=make_engine, callbacks=callbacks, lock=job.lock)


def _open_run(job: FoleyGenJob, *, goes_on: bool) -> TrackedRun | None:
    config = job.config
    dataset, codes = DatasetManifest.read(config.data), CodesManifest.read(config.table)
    used = DataUsed(
        name=config.data.name,
        digest=dataset.files_sha256,
        place=str(config.data),
        context="training",
        profile={"windows": codes.windows},
    )
    return open_run(
        config.tracking,
        experiment=config.experiment,
        pipeline=config.output.name,
        stage="foleygen",
        folder=config.output,
        identity=settings_sha256([settings_of(config), dataset.files_sha256, codes.recipe]),
        goes_on=goes_on,
        attempt=job.attempt,
        params=config.model_dump(mode="json"),
        tags={
            "dataset.folder": str(config.data),
            "dataset.recipe": dataset.recipe,
            "dataset.files_sha256": dataset.files_sha256,
            "codes.recipe": codes.recipe,
            "codes.codec_sha256": codes.codec.sha256,
            "codes.visual_sha256": codes.visual.sha256,
        },
        inputs=[used],
    )
