"""DeepSpeed ZeRO as an engine of the training loop.

DeepSpeed shards optimizer states (1), gradients (2) and weights (3) over the workers. What it saves by
itself drops frozen weights and depends on the number of workers; so it saves nothing here. Its state
comes and goes as whole tensors by name, in the same form as the plain torch engine's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infra.zero.setup import deepspeed_config, prepare_deepspeed, silent
from syncflow.training.distributed import device
from syncflow.training.engine import Schedule, check_shape, mean_of, set_rate
from syncflow.training.finite import Metrics, UpdateGuard, nan_unless_finite
from syncflow.training.schedule import learning_rate
from syncflow.training.shares import passes_of
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective, stage_adamw

MOMENTS = ("exp_avg", "exp_avg_sq")


class ZeroEngine:
    """An `Engine` over DeepSpeed. Weights stay float32; `bf16` is autocast, as in the plain engine.

    Args:
        schedule: learning rate by step.
        objective: a module whose `forward(batch)` returns scalars, among them `loss`; it must hold no
            frozen parameters.
        optimizer: a torch AdamW over all of its parameters.
        micro_batch: samples a worker, in one forward pass.
        accumulate: forward passes that make one update.
        communication: "float32" or "bfloat16", in which gradients travel between workers.
        guard: as the plain engine's.

    Raises:
        ValueError: a parameter of `objective` does not train.
    """

    def __init__(
        self,
        objective: nn.Module,
        *,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        zero_stage: int,
        micro_batch: int,
        accumulate: int = 1,
        clip_norm: float = 0.0,
        bf16: bool = False,
        communication: str = "float32",
        guard: UpdateGuard | None = None,
    ) -> None:
        frozen = [name for name, parameter in objective.named_parameters() if not parameter.requires_grad]
        if frozen:
            raise ValueError(f"{frozen[0]} is frozen; keep frozen parameters outside the engine's module")
        deepspeed = prepare_deepspeed()
        with silent():
            if not torch.distributed.is_initialized():
                deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo")
            self.engine, *_ = deepspeed.initialize(
                model=objective,
                optimizer=optimizer,
                dist_init_required=False,
                config=deepspeed_config(
                    zero_stage=zero_stage,
                    micro_batch=micro_batch,
                    accumulate=accumulate,
                    clip_norm=clip_norm if zero_stage else 0.0,  # `_update` clips for stage 0
                    bf16=bf16,
                    communication=communication,
                ),
            )
        self.zero_stage, self.schedule, self.guard = zero_stage, schedule, guard or UpdateGuard()
        self.clip_norm = clip_norm
        self.trained = dict(self.engine.module.named_parameters())

    def step(self, batches: Sequence[Any], *, step: int) -> Metrics:
        rate = self.schedule(step)
        set_rate(self.engine.optimizer.param_groups, rate)
        reported: list[Metrics] = []
        for batch in batches:
            losses = self.engine(batch)
            self.engine.backward(nan_unless_finite(losses["loss"]))
            reported.append({name: value.detach() for name, value in losses.items()})
            if len(reported) < len(batches):
                self.engine.step()  # counts the pass; updates nothing yet
        norm = self._update(step, list(zip(reported, batches, strict=True)))
        rates = {"gradient_norm": norm, "learning_rate": torch.tensor(rate)}
        return {**mean_of(reported), **rates, **self.guard.metrics()}

    def _update(self, step: int, reported: Sequence[tuple[Metrics, Any]]) -> Tensor:
        """Update if the norm of the gradient is finite; the norm."""
        if self.zero_stage:  # these optimizers judge for themselves, and leave out what is not finite
            self.engine.step()
            norm = torch.as_tensor(self.engine.get_global_grad_norm())
            self.guard.allows(norm, step=step, reported=reported)
            return norm
        gradients = [parameter.grad for parameter in self.trained.values() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.guard.allows(norm, step=step, reported=reported):
            nn.utils.clip_grads_with_norm_(self.trained.values(), self.clip_norm or float("inf"), norm)
        else:
            for parameter in self.trained.values():
                parameter.grad = None  # AdamW passes over it
        self.engine.step()
        return norm

    @torch.no_grad()
    def evaluate(self, batch: Any) -> Metrics:
        was_training = self.engine.training
        self.engine.eval()
        metrics = self.engine(batch)
        self.engine.train(was_training)
        return metrics

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        from deepspeed.utils import safe_get_full_fp32_param

        for name, parameter in self.trained.items():
            whole = safe_get_full_fp32_param(parameter) if self.zero_stage == 3 else parameter.detach()
            assert whole is not None, f"{name} is not in the optimizer"
            yield name, whole

    def lend(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        for name, value in weights:
            self._set_weight(name, self.trained[name], value.to(device()))

    def state(self) -> Iterator[tuple[str, Tensor]]:
        from deepspeed.utils import safe_get_full_optimizer_state

        for name, tensor in self.weights():
            yield f"weight/{name}", tensor
        if not self._inner.state:  # before the first step there are no moments
            return
        self._link_moments()
        updates = {
            name: self._inner.state[flat]["step"] for flat, names in self._flat_parts() for name in names
        }
        for name, parameter in self.trained.items():
            yield f"step/{name}", torch.as_tensor(float(updates[name]), dtype=torch.float32)
            for key in MOMENTS:
                if self.zero_stage == 0:
                    moment = self._inner.state[parameter][key]
                else:
                    moment = safe_get_full_optimizer_state(parameter, key)
                assert moment is not None, f"{name} is not in the optimizer"
                yield f"{key}/{name}", moment

    def restore(self, state: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for name, parameter in self.trained.items():
            value = state[f"weight/{name}"].to(device())
            self._set_weight(name, parameter, value)
            if self.zero_stage:
                safe_set_full_fp32_param(parameter, value)
        if not any(f"step/{name}" in state for name in self.trained):
            return
        self._make_moments(state)
        for name, parameter in self.trained.items():
            for key in MOMENTS if f"step/{name}" in state else ():
                value = state[f"{key}/{name}"].to(device())
                if self.zero_stage == 0:
                    self._inner.state[parameter][key].copy_(value)
                else:
                    safe_set_full_optimizer_state(parameter, value, key)

    def _set_weight(self, name: str, parameter: nn.Parameter, value: Tensor) -> None:
        if self.zero_stage < 3:
            check_shape(name, value, parameter)
            with torch.no_grad():
                parameter.copy_(value)
            return
        from deepspeed.runtime.zero.partition_parameters import GatheredParameters

        with GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
            check_shape(name, value, parameter)
            if torch.distributed.get_rank() == 0:
                parameter.copy_(value)

    @property
    def _inner(self) -> torch.optim.Optimizer:
        """The torch optimizer that DeepSpeed steps."""
        return self.engine.optimizer.optimizer if self.zero_stage else self.engine.optimizer

    def _flat_parts(self) -> Iterator[tuple[Tensor, list[str]]]:
        """What the inner optimizer updates, and the names of the parameters that lie in it."""
        names = {id(parameter): name for name, parameter in self.trained.items()}
        zero = self.engine.optimizer
        if self.zero_stage == 0:
            flat, held = list(self.trained.values()), [[parameter] for parameter in self.trained.values()]
        elif self.zero_stage == 3:
            flat, held = zero.fp32_partitioned_groups_flat, zero.fp16_groups
        else:
            flat, held = zero.single_partition_of_fp32_groups, zero.bit16_groups
        for part, parameters in zip(flat, held, strict=True):
            yield part, [names[id(parameter)] for parameter in parameters]

    def _make_moments(self, state: Mapping[str, Tensor]) -> None:
        """Moments of zero, which a fresh engine does not have before its first step.

        Raises:
            ValueError: parameters that lie together have had different numbers of updates.
        """
        on_device = bool(self._inner.defaults.get("fused"))
        for part, names in self._flat_parts():
            counts = {float(state[f"step/{name}"]) if f"step/{name}" in state else 0.0 for name in names}
            if len(counts) > 1:
                raise ValueError(
                    f"{names[0]} and those beside it have {sorted(counts)} updates; expected one"
                )
            updates = torch.tensor(counts.pop(), device=part.device if on_device else "cpu")
            moments = {key: torch.zeros_like(part) for key in MOMENTS}
            self._inner.state[part] = {"step": updates, **moments}
        self._link_moments()

    def _link_moments(self) -> None:
        """Tell ZeRO-1 and 2 where each parameter's moments lie in its flat partitions.

        DeepSpeed does it once, after the first group's first step, when the other groups have none yet.
        """
        if self.zero_stage in (1, 2):
            zero = self.engine.optimizer
            zero._hp_optimizer_states_linked = False
            zero._lazy_init_hp_params_optimizer_state()


def zero_engine(objective: FlowObjective, config: TrainConfig) -> ZeroEngine:
    """The engine that a stage's settings ask for."""
    return ZeroEngine(
        objective,
        optimizer=stage_adamw(objective, config),
        schedule=learning_rate(config.optimizer, steps=config.steps),
        zero_stage=config.engine.zero_stage,
        micro_batch=config.batch_size,
        accumulate=passes_of(config),
        clip_norm=config.optimizer.clip_norm,
        bf16=config.engine.bf16,
        communication=config.engine.communication,
        guard=UpdateGuard(limit=config.optimizer.skip_not_finite, fault=objective.fault),
    )
