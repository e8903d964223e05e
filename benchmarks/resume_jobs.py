"""The trainings that check_resume.py interrupts: a stage, the audio VAE, the video VAE, as jobs that go on.

Each job is the product's: the same workers, states, lock, signals and supervisor. What starts the workers is
Ray Train, or `fork_workers`, which forks them from the driver in a second and starts all of them again when
one has died. Rank 0 notes each step in `<folder>/trace`.
"""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from infra.executors.supervisor import raise_if_stopped, stopping, supervised
from syncflow.config import validate
from syncflow.data.parquet.lock import writer_lock
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.distributed import rank
from syncflow.training.loop import Callback
from syncflow.training.resume import saved_steps
from syncflow.training.stage.config import TrainConfig

Task = Literal["stage", "audio_vae", "video_vae"]
Launcher = Literal["fork", "ray"]
FORK = multiprocessing.get_context("fork")
SPAWNED_FROM_A_SERVER = multiprocessing.get_context("forkserver")  # a driver begins with everything imported
PR_SET_PDEATHSIG = 1
SIZE = 32  # rows and columns of the clips, pixels
GLOBAL_BATCH = 8
MODEL = {
    "video": {"hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 6, "max_text_tokens": 12},
    "audio": {"latent_dim": 8, "hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 6},
    "adaptor": {"num_heads": 2},
}
STAGE = {
    "stage": "audio",
    "model": MODEL,
    "flow": {"audio_draws": 2, "coupling": {"scope": "update", "score": "video"}},
    "optimizer": {"lr": 1e-3, "warmup_steps": 4},
    "ema_decay": 0.9,
    "cache_gb": 0.1,
}
AUTOENCODER = {
    "clip": {"seconds": 1.0, "height": SIZE, "width": SIZE},
    "audio": {"latent_dim": 4, "num_filters": 2, "hidden_size": 8, "num_lstm_layers": 0},
    "video": {
        "spatial_block_channels": [8, 8, 8, 16],
        "spatial_layers_per_block": 1,
        "spatial_norm_groups": 1,
        "temporal_filters": 12,
        "temporal_res_blocks": 1,
        "temporal_norm_groups": 1,
    },
    "audio_objective": {"segment_samples": 4800},
    "video_objective": {"frames_per_step": 2, "segment_frames": 5},
    "adversarial": {"enabled": True, "from_step": 10, "windows": [256, 64], "filters": 2},
    "optimizer": {"lr": 1e-3, "warmup_steps": 4},
    "windows_per_clip": 2,
    "ema_decay": 0.9,
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training, begun or gone on with."""

    task: Task
    root: Path  # of the data, and of all jobs' folders
    name: str
    steps: int
    launcher: Launcher = "fork"
    workers: int = 2
    every: int = 4  # steps between states
    engine: str = "torch"  # of a stage: torch, or zero0 to zero3
    lock: str = ""  # the id of the folder's owner, once there is one

    @property
    def config(self) -> TrainConfig | AutoencoderTrainConfig:
        values = {"output": self.root / self.name, "steps": self.steps, "workers": self.workers}
        values |= {"batch_size": GLOBAL_BATCH // self.workers, "log_every": 1, "tracking_uri": "none"}
        if self.task == "stage":
            engine: dict[str, Any] = {"kind": "torch", "bf16": False}
            if self.engine != "torch":
                engine |= {"kind": "deepspeed", "zero_stage": int(self.engine[-1])}
            values |= {"data": self.root / "latents", "engine": engine, "validate_every": 0}
            values |= {"initialise_from": str(self.root / "before" / "video" / "checkpoint")}
            values |= {"checkpoint": {"every": self.every, "keep": 2}}
            return validate(TrainConfig, STAGE | values, source="check_resume")
        kind = self.task.removesuffix("_vae")
        values |= {"clips": self.root / "clips", "held_out": self.root / "clips", "kind": kind}
        values |= {"checkpoint_every": self.every}
        if kind == "video":
            values |= {"adversarial": {"enabled": False}}
        return validate(AutoencoderTrainConfig, AUTOENCODER | values, source="check_resume")

    @property
    def folder(self) -> Path:
        """Of states, lock and trace."""
        config = self.config
        return config.folder if isinstance(config, TrainConfig) else config.output

    @property
    def weights(self) -> Path:
        """What the job ends with."""
        folder = self.folder / "checkpoint" if self.task == "stage" else self.folder
        return folder / "diffusion_pytorch_model.safetensors"

    @property
    def log(self) -> Path:
        return self.root / f"{self.name}.log"


class Trace(Callback):
    """Notes `start <step>` and each step that is done, at rank 0, and the process of every worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_start(self, *, start_step: int, steps: int) -> None:
        del steps
        (self.folder / f"worker_{rank()}").write_text(str(os.getpid()))
        self._note(f"start {start_step}")

    def on_step(self, step: int) -> None:
        self._note(str(step))

    def _note(self, told: str) -> None:
        if rank() == 0:
            with (self.folder / "trace").open("a") as stream:
                stream.write(f"{told}\n")


def work(job: Job) -> None:
    """One worker. Every process has another global seed, so that nothing may depend on it."""
    torch.manual_seed(os.getpid())
    config, trace = job.config, Trace(job.folder)
    if isinstance(config, TrainConfig):
        from syncflow.training.stage.parts import torch_engine
        from syncflow.training.stage.run import run_stage

        make_engine = torch_engine
        if config.uses_zero:
            from infra.zero.engine import zero_engine as make_engine
        run_stage(config, make_engine=make_engine, callbacks=[trace], lock=job.lock)
    else:
        from syncflow.training.autoencoder.run import train_autoencoder

        train_autoencoder(config, callbacks=[trace], lock=job.lock)


def start(job: Job) -> multiprocessing.process.BaseProcess:
    """The driver of a job, as a user's command: the process that signals reach first."""
    driver = SPAWNED_FROM_A_SERVER.Process(target=_drive, args=(job,))
    driver.start()
    return driver


def _drive(job: Job) -> None:
    with job.log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    for kind in (signal.SIGINT, signal.SIGHUP):  # a job in the background ignores them
        signal.signal(kind, signal.default_int_handler if kind == signal.SIGINT else signal.SIG_DFL)
    sys.exit(supervised(lambda: _train(job)))


def _train(job: Job) -> int:
    stop = job.folder / "stop"
    job.folder.mkdir(parents=True, exist_ok=True)
    with writer_lock(job.folder) as lock:
        stop.unlink(missing_ok=True)
        mine = replace(job, lock=lock)
        if job.launcher == "ray":
            from infra.executors.ray_train import run_workers

            place, failures = job.folder / "ray", 100
            run_workers(work, mine, workers=job.workers, storage=place, stop=stop, max_failures=failures)
        else:
            if job.engine != "torch":  # once, and not in each worker
                from infra.zero.setup import prepare_deepspeed

                prepare_deepspeed()
            with stopping(stop):
                fork_workers(mine)
    last = saved_steps(job.folder / "engine")[0]
    if last.name != f"step_{job.steps:08}":
        raise_if_stopped(stop, f"stopped; the same command goes on from {last}")
        raise AssertionError(f"{job.folder}: ended at {last}, and nobody asked it to")
    return 0


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def fork_workers(job: Job) -> None:
    """All workers, and all of them again when one was killed.

    Raises:
        RuntimeError: one failed by itself.
    """
    while True:
        port = free_port()
        workers = [FORK.Process(target=_forked, args=(number, job, port)) for number in range(job.workers)]
        for worker in workers:
            worker.start()
        waiting = {worker.sentinel: worker for worker in workers}
        while waiting:
            for sentinel in multiprocessing.connection.wait(list(waiting)):
                ended = waiting.pop(sentinel)  # type: ignore[arg-type]
                ended.join()
                if ended.exitcode:
                    for other in waiting.values():
                        other.kill()
        statuses = [worker.exitcode for worker in workers]
        if not any(statuses):
            return
        if -signal.SIGKILL not in statuses:
            raise RuntimeError(f"workers ended with {statuses}")


def _forked(number: int, job: Job, port: int) -> None:
    """One worker; it ends with its driver."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(number)}
    os.environ |= {"LOCAL_RANK": str(number), "WORLD_SIZE": str(job.workers)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=number, world_size=job.workers)
    work(job)
    torch.distributed.destroy_process_group()


def prepare(root: Path, tasks: Collection[Task]) -> None:
    """Data for the tasks, and the stage before."""
    from kills_setting import make_clips
    from random_latents import write_random

    from syncflow.training.stage.run import run_stage

    root.mkdir(parents=True)
    if set(tasks) - {"stage"}:
        make_clips(root / "clips", count=4, size=SIZE)
    if "stage" in tasks:
        job = Job(task="stage", root=root, name="before", steps=5, workers=1)
        assert isinstance(job.config, TrainConfig)
        write_random(root / "latents", clips=20, text_tokens=5, model=job.config.model, size=SIZE)
        run_stage(job.config.model_copy(update={"stage": "video", "initialise_from": "auto"}))
