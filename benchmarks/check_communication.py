"""What gradients that travel in bfloat16 do to a loss curve: two workers, every engine, beside float32.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/check_communication.py --output DIR

A small stage `video` on random latents, in pairs of forked CPU workers (gloo): plain torch and ZeRO 0 to 3 in
float32, and ZeRO-1 under autocast. Each pair of runs has the same data, noise and first weights; the table
has the largest relative distance of a training loss, and the validation loss at the end.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field
from random_latents import write_random
from resume_jobs import FORK, MODEL, free_port
from rich.console import Console
from rich.table import Table

from infra.zero.engine import zero_engine
from infra.zero.setup import prepare_deepspeed
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, validate
from syncflow.errors import UserError
from syncflow.model.config import DualDiTConfig
from syncflow.training.distributed import rank
from syncflow.training.loop import Callback
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.parts import torch_engine
from syncflow.training.stage.run import run_stage

SIZE = 32  # rows and columns of a frame, pixels
ENGINES = {
    "plain torch": {"kind": "torch", "bf16": False},
    **{f"ZeRO-{stage}": {"kind": "deepspeed", "zero_stage": stage, "bf16": False} for stage in range(4)},
    "ZeRO-1, autocast": {"kind": "deepspeed", "zero_stage": 1, "bf16": True},
}
VALIDATION = "validation/loss"


class CommunicationConfig(Config):
    """How long each engine trains."""

    output: Path
    """A new folder, for random latents and runs."""
    steps: int = Field(default=100, ge=2)
    """Updates of each run."""
    batch_size: int = Field(default=4, ge=1)
    """Samples a step of each of the two workers."""


class Losses(Callback):
    """The losses of all steps, and those of validation."""

    def __init__(self) -> None:
        self.training: list[float] = []
        self.validation = float("nan")

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        del step
        if "loss" in metrics:
            self.training.append(metrics["loss"])
        self.validation = metrics.get(VALIDATION, self.validation)


def train(number: int, config: TrainConfig, port: int) -> None:
    """One worker."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(config.workers)}
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=number, world_size=config.workers)
    losses = Losses()
    make_engine = zero_engine if config.uses_zero else torch_engine
    run_stage(config, make_engine=make_engine, callbacks=[losses])
    if rank() == 0:
        found = {"training": losses.training, "validation": losses.validation}
        (config.output / "losses.json").write_text(json.dumps(found), encoding="utf-8")
    torch.distributed.destroy_process_group()


def losses_of(config: TrainConfig) -> tuple[list[float], float]:
    """Train with two workers; the loss of each step, and the last one of validation."""
    config.folder.mkdir(parents=True)
    port = free_port()
    workers = [FORK.Process(target=train, args=(number, config, port)) for number in range(config.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit(f"{config.output.name} ended with {[worker.exitcode for worker in workers]}")
    found = json.loads((config.output / "losses.json").read_text(encoding="utf-8"))
    return found["training"], found["validation"]


def check(given: CommunicationConfig) -> int:
    if given.output.exists():
        raise UserError(f"output {given.output}: exists; give a new folder")
    output, model = given.output.resolve(), validate(DualDiTConfig, MODEL, source="model")
    write_random(output / "latents", clips=80, text_tokens=8, model=model, size=SIZE)
    prepare_deepspeed()  # once, and not in each worker
    table = Table("", "a loss apart, at most", "validation, float32", "validation, bfloat16")
    for name, engine in ENGINES.items():
        found = {}
        for communication in ("float32", "bfloat16"):
            values = {
                "stage": "video",
                "model": MODEL,
                "data": output / "latents",
                "output": output / f"{name} {communication}",
                "engine": engine | {"communication": communication},
                "optimizer": {"lr": 1e-3, "warmup_steps": 4},
                "steps": given.steps,
                "workers": 2,
                "batch_size": given.batch_size,
                "log_every": 1,
                "validate_every": given.steps,
                "whitening_samples": 16,
                "tracking_uri": "none",
            }
            found[communication] = losses_of(validate(TrainConfig, values, source="check_communication"))
        (exact, last), (halved, its_last) = found["float32"], found["bfloat16"]
        apart = max(abs(a - b) / abs(a) for a, b in zip(exact, halved, strict=True))
        table.add_row(name, f"{apart:.1e}", f"{last:.5f}", f"{its_last:.5f}")
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    run(lambda: check(parse_arguments(CommunicationConfig, description=__doc__ or "")))
