"""Processes of the ZeRO tests: stages in N processes (gloo, or NCCL on GPUs), their losses to files.

    python tests/infra/zero_worker.py 2:a.yaml,b.yaml 1:c.yaml

Groups of stages one after the other, each in as many processes as its number says. On a CPU all are forked
from this one, which imports DeepSpeed once and computes nothing.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist

from infra.zero.engine import zero_engine
from infra.zero.setup import prepare_deepspeed
from syncflow.config import load_config
from syncflow.errors import UserError
from syncflow.records import LatentBatch
from syncflow.training.loop import Callback
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.parts import torch_engine
from syncflow.training.stage.run import run_stage
from tests.syncflow.training.small import poisoned


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name in {"loss", "validation/loss"} & metrics.keys():
            self.seen[str(step) if name == "loss" else f"{name} {step}"] = metrics[name]


def is_bad(batch: LatentBatch, training: bool) -> bool:
    bad = os.environ["POISONED_SAMPLES"].split(",")
    return training and any(str(number) in bad for number in batch.index.tolist())


def work(rank: int, workers: int, presets: list[str], port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    torch.set_num_threads(1)
    on_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_gpu else "gloo", rank=rank, world_size=workers)
    for preset in presets:
        config, losses = load_config(TrainConfig, Path(preset)), Losses()
        factory = zero_engine if config.engine.kind == "deepspeed" else torch_engine
        if "POISONED_SAMPLES" in os.environ:
            factory = poisoned(factory, at=is_bad)
        try:
            run_stage(config, make_engine=factory, callbacks=[losses])
        except UserError as error:  # the same at all workers, so that the next stage may begin
            (config.folder / f"error_{rank}.txt").write_text(str(error))
        if rank == 0:
            number = len(list(config.folder.glob("losses_*")))
            (config.folder / f"losses_{number}.json").write_text(json.dumps(losses.seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    prepare_deepspeed()
    for group in sys.argv[1:]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        number, _, presets = group.partition(":")
        torch.multiprocessing.start_processes(
            work,
            args=(int(number), presets.split(","), port),
            nprocs=int(number),
            start_method="spawn" if torch.cuda.is_available() else "fork",
        )
