"""Train an autoencoder: windows decoded by Ray Data, Ray Train workers, figures of held-out clips, MLflow."""

import os
import uuid
from dataclasses import dataclass, field

from infra.executors.local_cluster import cluster
from infra.executors.ray_pool import RayPool
from infra.executors.ray_train import refuse_without_gpu, run_workers
from infra.launch.ending import is_done, told_how_it_ends
from infra.tracking.run_record import Open, RunRecord
from infra.tracking.runs import TrackedRun, client, open_run, opened_by
from syncflow.config import settings_of, with_absolute_paths
from syncflow.data.parquet.lock import writer_lock
from syncflow.data.windows.decode import check_clips, decoded_windows
from syncflow.files import require_writable
from syncflow.hashing import settings_sha256
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.autoencoder.windows import training_windows
from syncflow.training.distributed import rank

NEEDS_GPU = "look at CUDA_VISIBLE_DEVICES, or train on CPUs with --no-bf16 and few --workers"


@dataclass(frozen=True, kw_only=True)
class AutoencoderJob:
    """What a worker is given."""

    config: AutoencoderTrainConfig
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)  # names the call in the run's note
    lock: str = ""  # of the output folder: the owner's id


def train_worker(job: AutoencoderJob) -> None:
    """What each worker runs; rank 0 tracks and validates."""
    from syncflow.studies.autoencoder_validation import HeldOutWindows
    from syncflow.training.autoencoder.run import train_autoencoder

    config, callbacks, after_save = job.config, [], []
    if rank() == 0:
        record = RunRecord(config, folder=config.output, open_run=_opener(job) if config.tracking else None)
        callbacks.append(record)
        if config.validate_every:
            windows = decoded_windows(training_windows(config, held_out=True))
            after_save.append(HeldOutWindows(config, windows, record=record))
    train_autoencoder(config, callbacks=callbacks, after_save=after_save, lock=job.lock)


def train_with_ray(config: AutoencoderTrainConfig) -> dict[str, float]:
    """Train to `config.output` and measure; a run that was cut goes on from its last state.

    Returns:
        Reconstruction of the held-out clips by name; also in `reconstruction.json`.

    Raises:
        UserError: the clips are missing, those to be held out too, or none can be decoded; another process
            trains in the folder.
        Interrupted: a signal asked to end, and the workers did after the running step, with a state.
    """
    for name, folder in (("clips", config.clips), ("held_out", config.held_out)):
        check_clips(folder, setting=name)  # before Ray starts, and not after the training
    if config.bf16:
        refuse_without_gpu(NEEDS_GPU)
    config = with_absolute_paths(config)
    require_writable(config.output)
    with writer_lock(config.output) as lock:
        return _train(config, lock)


def _train(config: AutoencoderTrainConfig, lock: str) -> dict[str, float]:
    job, folder = AutoencoderJob(config=config, lock=lock), config.output
    figures: dict[str, float] = {}
    with (
        told_how_it_ends(folder, steps=config.steps, attempt=job.attempt, artifacts=folder) as stop,
        cluster(num_cpus=max(os.cpu_count() or 1, config.workers)),
    ):
        for held_out in (False, True):
            decoded_windows(training_windows(config, held_out=held_out), execute=RayPool(device="cpu"))
        run_workers(
            train_worker,
            job,
            workers=config.workers,
            storage=folder / "ray",
            stop=stop,
            needs_gpu=NEEDS_GPU if config.bf16 else "",
            max_failures=config.max_failures,
        )
        if is_done(folder, config.steps):
            from syncflow.studies.autoencoder_validation import measure_saved  # imports torch models

            figures = measure_saved(config)
            _send(opened_by(job.attempt, folder), figures, step=config.steps)
    return figures


def _opener(job: AutoencoderJob) -> Open:
    """Opens the run of an autoencoder."""
    config = job.config
    clips = {"clips": str(config.clips), "held_out": str(config.held_out)}

    def open_it(goes_on: bool) -> TrackedRun | None:
        return open_run(
            config.tracking,
            experiment=config.experiment,
            pipeline=config.output.name,
            stage=f"{config.kind}_vae",
            folder=config.output,
            identity=settings_sha256([settings_of(config), clips]),
            goes_on=goes_on,
            attempt=job.attempt,
            params=config.model_dump(mode="json"),
            tags=clips,
        )

    return open_it


def _send(tracked: TrackedRun | None, figures: dict[str, float], *, step: int) -> None:
    if tracked is None:
        return
    try:
        store = client(tracked.uri)
        for name, value in figures.items():
            if value == value:
                store.log_metric(tracked.run_id, f"reconstruction/{name}", float(value), step=step)
    except Exception as error:  # the figures are in reconstruction.json
        print(f"MLflow did not take the figures ({type(error).__name__})", flush=True)
