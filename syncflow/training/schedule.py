"""Learning rate of each step, and the optimizer's parameter groups."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from syncflow.training.engine import Schedule
from syncflow.training.engine_config import OptimizerConfig

TABLES = {"modulation"}  # vectors of shift, scale and gate, several in a table: they do not decay
FLOOR = 0.01  # of the learning rate, at the end of a cosine


def learning_rate(
    config: OptimizerConfig, *, steps: int, fresh: Sequence[int] = (), later_share: float = 1.0
) -> Schedule:
    """Learning rate by step, from 0: warm-up, then constant or a half cosine that ends at `steps`.

    Parameters that begin to train at a step of `fresh` get a warm-up of their own, up to a share of the rate:
    Adam's first updates are as large as the rate, whatever the gradient, and would undo good first weights.

    Args:
        later_share: what of the rate those warm-ups lead to.
    """

    def rate(step: int) -> float:
        begun = max((first for first in fresh if first <= step), default=0)
        if begun:
            rising = min(1.0, (step - begun + 1) / max(1, config.warmup_steps))
            return rising * later_share * after_warm_up(step)
        return after_warm_up(step)

    def after_warm_up(step: int) -> float:
        if step < config.warmup_steps:
            return config.lr * (step + 1) / config.warmup_steps
        if config.decay == "none":
            return config.lr
        if config.decay == "inverse_sqrt":
            return config.lr * math.sqrt(max(1, config.warmup_steps) / (step + 1))
        done = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
        return config.lr * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)

    return rate


def adamw(*modules: nn.Module, config: OptimizerConfig, shares: Sequence[float] = ()) -> torch.optim.AdamW:
    """AdamW over what trains, fused; matrices decay, but no vectors (biases, norms) and no `TABLES`.

    Each module has groups of its own: under ZeRO a group's parameters count their updates together. `shares`
    of the learning rate, one a module, are for `engine.set_rate`; without them each has all of it.
    """
    groups, trained = [], []
    for module, share in zip(modules, shares or [1.0] * len(modules), strict=True):
        own = [(name, each) for name, each in module.named_parameters() if each.requires_grad]
        decays = {name: each.ndim >= 2 and name.rpartition(".")[2] not in TABLES for name, each in own}
        for decay in (True, False):
            some = [parameter for name, parameter in own if decays[name] == decay]
            weight_decay = config.weight_decay if decay else 0.0
            groups.append({"params": some, "weight_decay": weight_decay, "lr_share": share})
        trained += own
    assert trained, "nothing trains"
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        fused=not any(parameter.is_meta for _, parameter in trained),
    )
