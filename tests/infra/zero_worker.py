"""Processes of the ZeRO tests: a stage in N gloo processes, its losses and weights to a file."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist

from infra.zero import zero_engine
from syncflow.config import load_config
from syncflow.training.config import TrainConfig
from syncflow.training.loop import Callback
from syncflow.training.stage_run import run_stage, torch_engine


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen[step] = metrics["loss"]


def work(rank: int, workers: int, presets: list[str], port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    for preset in presets:
        config, losses = load_config(TrainConfig, Path(preset)), Losses()
        factory = zero_engine if config.engine.kind == "deepspeed" else torch_engine
        run_stage(config, make_engine=factory, callbacks=[losses])
        if rank == 0:
            number = len(list(config.folder.glob("losses_*")))
            (config.folder / f"losses_{number}.json").write_text(json.dumps(losses.seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = int(sys.argv[1])
    if workers == 1:
        work(0, 1, sys.argv[2:], port)
    else:
        torch.multiprocessing.spawn(work, args=(workers, sys.argv[2:], port), nprocs=workers)
