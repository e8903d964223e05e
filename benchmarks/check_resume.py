"""Kill a training run at random steps, and compare what it ends with to a run that nobody killed.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/check_resume.py --kills 10 --output /tmp/check_resume

Stage `audio` of a small model, two workers, DeepSpeed; SIGKILL for workers and the driver. The final weights
must be the same bit for bit; after 2 -> 1 -> 2 workers, at another ZeRO stage each, within 1e-5 of their norm
(a key bias, unseen by a softmax, has rounding for its gradient, and differs most). Every process has another
global seed: a frozen tower not read from its checkpoint would show. `--launcher ray` starts workers as
`train_stage.py` does (20 s and more); `fork` from a process in a second.
"""

import contextlib
import copy
import ctypes
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from safetensors.torch import load_file

from infra.deepspeed_setup import prepare_deepspeed
from infra.local_cluster import cluster
from infra.ray_train import run_workers
from infra.zero import zero_engine
from syncflow.config import validate
from syncflow.training.checkpoint import CheckpointManifest
from syncflow.training.config import TrainConfig
from syncflow.training.distributed import rank
from syncflow.training.loop import Callback
from syncflow.training.stage_run import run_stage
from tests.syncflow.training.small import SMALL, write_dataset

DRIVER, PR_SET_PDEATHSIG = -1, 1
SETTLED = {"ray": 5.0, "fork": 0.0}  # seconds after which a worker's death counts as one to repair
Launcher = Literal["ray", "fork"]


@dataclass(frozen=True, kw_only=True)
class Kill:
    step: int
    victim: int  # a rank, or DRIVER
    delay: float  # seconds after the step; a state may be being written then


@dataclass(frozen=True, kw_only=True)
class Job:
    config: TrainConfig
    launcher: Launcher
    kills: tuple[Kill, ...] = ()
    driver: int = 0  # its process


class Reaper(Callback):
    """Ends a worker or the driver at the steps of `kills`, each once."""

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, time.monotonic()

    def on_step(self, step: int) -> None:
        for number, kill in enumerate(self.job.kills):
            mark = self.job.config.output / f"killed_{number}"
            if kill.step != step or rank() != max(kill.victim, 0) or mark.exists():
                continue
            time.sleep(max(0.0, SETTLED[self.job.launcher] - (time.monotonic() - self.began)))
            mark.touch()
            process = self.job.driver if kill.victim == DRIVER else os.getpid()
            threading.Timer(kill.delay, os.kill, (process, signal.SIGKILL)).start()


def work(job: Job) -> None:
    """One worker."""
    torch.manual_seed(os.getpid())
    with (job.config.output / f"starts_{rank()}").open("a") as stream:
        stream.write("x")
    run_stage(job.config, make_engine=zero_engine, callbacks=[Reaper(job)])


def train(job: Job) -> None:
    config = job.config
    config.output.mkdir(parents=True, exist_ok=True)
    failures = len(job.kills) + 1
    if job.launcher == "ray":
        run_workers(work, job, workers=config.workers, storage=config.folder / "ray", max_failures=failures)
    else:
        fork_workers(job, max_failures=failures)


def fork_workers(job: Job, *, max_failures: int) -> None:
    """All workers, and all of them again when one has died."""
    workers = job.config.workers
    for attempt in range(max_failures + 1):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            torch.multiprocessing.start_processes(
                work_forked, args=(job, port), nprocs=workers, start_method="fork"
            )
            return
        except torch.multiprocessing.ProcessExitedException:
            if attempt == max_failures:
                raise


def work_forked(number: int, job: Job, port: int) -> None:
    """One worker; it ends with its driver."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(number)}
    os.environ |= {"LOCAL_RANK": str(number), "WORLD_SIZE": str(job.config.workers)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=number, world_size=job.config.workers)
    work(job)
    torch.distributed.destroy_process_group()


@dataclass
class Settings:
    output: Path
    """Folder for everything; it must not exist."""
    kills: int = 10
    """How often the run is killed."""
    driver_kills: int = 3
    """How many of these end the driver, and all with it; the others end a worker."""
    steps: int = 60
    """Updates of the run."""
    state_every: int = 4
    """Updates between states."""
    launcher: Launcher = "ray"
    """What starts the workers."""
    seed: int = 0
    """Of the kills."""
    drive: str = ""
    """Used by itself: the name of a run, of which this process is the driver."""


def config_of(
    settings: Settings, name: str, *, workers: int = 2, zero: int = 1, steps: int = 0
) -> TrainConfig:
    values = copy.deepcopy(SMALL) | {
        "stage": "audio",
        "data": settings.output / "latents",
        "output": settings.output / name,
        "initialise_from": str(settings.output / "before" / "video" / "checkpoint"),
        "workers": workers,
        "batch_size": 8 // workers,
        "engine": {"kind": "deepspeed", "zero_stage": zero, "bf16": False},
        "flow": {"audio_draws": 2, "coupling": {"scope": "update", "score": "video"}},
        "checkpoint": {"every": settings.state_every, "keep": 2},
        "steps": steps or settings.steps,
    }
    return validate(TrainConfig, values, source="check_resume")


def planned(settings: Settings) -> tuple[Kill, ...]:
    draw = random.Random(settings.seed)
    steps = sorted(draw.sample(range(1, settings.steps), settings.kills))
    drivers = set(draw.sample(range(settings.kills), settings.driver_kills))
    return tuple(
        Kill(step=step, victim=DRIVER if n in drivers else draw.randrange(2), delay=draw.random() * 0.2)
        for n, step in enumerate(steps)
    )


def drive(settings: Settings) -> None:
    """One driver process: the run that is killed, or all others one after the other under one Ray."""
    launcher = settings.launcher
    if settings.drive == "killed":
        config = config_of(settings, "killed")
        train(Job(config=config, launcher=launcher, kills=planned(settings), driver=os.getpid()))
        return
    third = settings.steps // 3
    with cluster(num_cpus=2) if launcher == "ray" else contextlib.nullcontext():
        for config in (
            config_of(settings, "whole"),
            config_of(settings, "moved", zero=1, steps=third),
            config_of(settings, "moved", workers=1, zero=3, steps=2 * third),
            config_of(settings, "moved", zero=2),
        ):
            train(Job(config=config, launcher=launcher))


def call(settings: Settings, name: str) -> int:
    flags = [f"--output={settings.output}", f"--kills={settings.kills}", f"--steps={settings.steps}"]
    flags += [f"--driver-kills={settings.driver_kills}", f"--state-every={settings.state_every}"]
    flags += [f"--seed={settings.seed}", f"--drive={name}", f"--launcher={settings.launcher}"]
    return subprocess.run([sys.executable, __file__, *flags]).returncode


def weights(settings: Settings, name: str) -> dict[str, torch.Tensor]:
    return load_file(settings.output / name / "audio" / "checkpoint" / "diffusion_pytorch_model.safetensors")


def norm(tensors: Mapping[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    settings = tyro.cli(Settings, description=__doc__, args=arguments)
    settings.output = settings.output.resolve()
    if settings.drive:
        prepare_deepspeed()
        drive(settings)
        return 0
    settings.output.mkdir(parents=True)
    write_dataset(settings.output / "latents")
    before = copy.deepcopy(SMALL) | {"stage": "video", "data": settings.output / "latents", "steps": 5}
    run_stage(validate(TrainConfig, before | {"output": settings.output / "before"}, source="check_resume"))
    if call(settings, "whole"):
        return 1
    drivers = 1
    while status := call(settings, "killed"):
        print(f"driver {drivers} ended with {status}", flush=True)
        drivers += 1
        if drivers > settings.kills + 2:
            return 1
    whole, killed, moved = (weights(settings, name) for name in ("whole", "killed", "moved"))
    apart = {n: float((whole[n] - moved[n]).abs().max() / whole[n].abs().max().clamp(1e-3)) for n in whole}
    farthest = max(apart, key=apart.__getitem__)
    difference = norm({n: whole[n] - moved[n] for n in whole}) / norm(whole)
    first = CheckpointManifest.read(settings.output / "before" / "video" / "checkpoint").parts["video_tower"]
    last = CheckpointManifest.read(settings.output / "killed" / "audio" / "checkpoint").parts["video_tower"]
    result = {
        "kills": len(list((settings.output / "killed").glob("killed_*"))),
        "of them the driver": settings.driver_kills,
        "drivers": drivers,
        "starts of worker 0": len((settings.output / "killed" / "starts_0").read_text()),
        "equal bit for bit": all(torch.equal(whole[n], killed[n]) for n in whole),
        "relative difference after 2 -> 1 -> 2 workers, of the norm of all weights": difference,
        "largest in a tensor": f"{apart[farthest]:.1e} ({farthest})",
        "frozen tower as before": first == last,
    }
    print(json.dumps(result, indent=1))
    return 0 if result["equal bit for bit"] and difference < 1e-5 and first == last else 1


if __name__ == "__main__":
    sys.exit(main())
