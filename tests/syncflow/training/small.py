"""A small model and its training, and objectives that are given NaN."""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from syncflow.flow.latents import map_latents
from syncflow.records import LatentBatch
from syncflow.training.engine import Engine
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.parts import EngineFactory


def poisoned(make_engine: EngineFactory, *, at: Callable[[LatentBatch, bool], bool]) -> EngineFactory:
    """Engines whose objective is given NaN for the batches that `at(batch, training)` names."""

    def factory(objective: FlowObjective, config: TrainConfig) -> Engine[LatentBatch]:
        def change(module: nn.Module, arguments: tuple[LatentBatch]) -> tuple[LatentBatch]:
            (batch,) = arguments
            if not at(batch, module.training):
                return arguments
            latents = map_latents(lambda tensor: tensor * torch.nan, batch.latents)
            return (dataclasses.replace(batch, latents=latents),)

        objective.register_forward_pre_hook(change)
        return make_engine(objective, config)

    return factory


SMALL = {
    "model": {
        "video": {"hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 6, "max_text_tokens": 12},
        "audio": {
            "latent_dim": 8,
            "latent_rate": 10.0,
            "hidden_size": 16,
            "depth": 2,
            "num_heads": 2,
            "text_dim": 6,
        },
        "adaptor": {"num_heads": 2},
    },
    "optimizer": {"lr": 1e-3, "warmup_steps": 4},
    "engine": {"kind": "torch", "bf16": False},
    "checkpoint": {"every": 3, "keep": 2},
    "tracking_uri": "none",
    "steps": 6,
    "batch_size": 4,
    "workers": 1,
    "ema_decay": 0.9,
    "log_every": 1,
    "validate_every": 0,
    "cache_gb": 0.1,
}
