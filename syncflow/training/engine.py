"""What hides backward, step and state from the loop: the `Engine` protocol, and plain torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from syncflow.training.distributed import all_sum, world_size
from syncflow.training.finite import Metrics, UpdateGuard, nan_unless_finite

B_contra = TypeVar("B_contra", contravariant=True)
B = TypeVar("B")
OPTIMIZER_KEYS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
Schedule = Callable[[int], float]  # step (from 0) -> learning rate


class Engine(Protocol[B_contra]):
    """One update of whatever is trained, and its whole state, at any number of workers.

    The state is a mapping of names to tensors which does not depend on the number of workers or on how
    an engine shards it: what one engine saved, another may restore.
    """

    def step(self, batches: Sequence[B_contra], *, step: int) -> Metrics:
        """Update once from the micro-batches of update number `step` (from 0); this worker's metrics.

        Raises:
            NotFiniteError: the gradient holds NaN or Inf; at all workers, and before the update.
        """
        ...

    def evaluate(self, batch: B_contra) -> Metrics:
        """This worker's metrics of a batch, without a gradient, the objective in evaluation mode."""
        ...

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The trained parameters as whole tensors by name; not copies. Collective, as `state`."""
        ...

    def lend(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Put other values, the same at all workers, in place of the trained parameters, to evaluate with.

        The optimizer does not see them: the parameters get their own before the next update. Collective.
        """
        ...

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that a resume needs, whole tensors by name (float32 masters, Adam moments, steps).

        Collective: every worker goes through all of it, and keeps what it is to write.
        """
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state; every worker is given all of it.

        Raises:
            KeyError: a tensor is missing.
            ValueError: a shape differs.
        """
        ...


class TorchEngine(Generic[B]):
    """AdamW (or another) in plain torch; gradients are averaged over workers where there are several.

    Args:
        objective: a module whose `forward(batch)` returns scalars, among them `loss`.
        optimizer: over the parameters of `objective` that train; no others are saved.
        schedule: learning rate of each step.
        clip_norm: largest norm of the gradient; 0 leaves it.
        bf16: run the forward pass under bfloat16 autocast; weights and moments stay float32.
        communication: type in which gradients travel between workers.
        guard: decides whether an update is made; None: one that ends training at the first NaN or Inf.
    """

    def __init__(
        self,
        objective: nn.Module,
        *,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        clip_norm: float = 0.0,
        bf16: bool = False,
        communication: torch.dtype = torch.float32,
        guard: UpdateGuard | None = None,
    ) -> None:
        self.communication = communication
        self.objective, self.optimizer, self.guard = objective, optimizer, guard or UpdateGuard()
        self.schedule, self.clip_norm, self.bf16 = schedule, clip_norm, bf16
        taken = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.trained = {n: p for n, p in objective.named_parameters() if id(p) in taken}
        assert len(self.trained) == len(taken), "the optimizer holds parameters that are not the objective's"
        self.device = next(iter(self.trained.values())).device

    def step(self, batches: Sequence[B], *, step: int) -> Metrics:
        learning_rate = self.schedule(step)
        set_rate(self.optimizer.param_groups, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        reported: list[Metrics] = []
        for batch in batches:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                losses = self.objective(batch)
            (nan_unless_finite(losses["loss"]) / len(batches)).backward()
            reported.append({name: value.detach() for name, value in losses.items()})
        self._average_gradients()
        limit = self.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(list(self.trained.values()), limit)
        if self.guard.allows(norm, step=step, reported=list(zip(reported, batches, strict=True))):
            self.optimizer.step()
        rates = {"gradient_norm": norm.detach(), "learning_rate": torch.tensor(learning_rate)}
        return {**mean_of(reported), **rates, **self.guard.metrics()}

    @torch.no_grad()
    def evaluate(self, batch: B) -> Metrics:
        was_training = self.objective.training
        self.objective.eval()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            metrics = self.objective(batch)
        self.objective.train(was_training)
        return metrics

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.trained.items():
            yield name, parameter.detach()

    @torch.no_grad()
    def lend(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        for name, value in weights:
            self.trained[name].copy_(value)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.trained.items():
            yield f"weight/{name}", parameter.detach()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                yield f"{key}/{name}", torch.as_tensor(value)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        fused = bool(self.optimizer.defaults.get("fused"))  # then the count of updates is on the GPU, too
        for name, parameter in self.trained.items():
            check_shape(name, state[f"weight/{name}"], parameter)
            with torch.no_grad():
                parameter.copy_(state[f"weight/{name}"])
            moments = {key: state[f"{key}/{name}"] for key in OPTIMIZER_KEYS if f"{key}/{name}" in state}
            if moments:
                self.optimizer.state[parameter] = {
                    key: value.clone() if key == "step" and not fused else value.to(parameter, copy=True)
                    for key, value in moments.items()
                }

    def _average_gradients(self) -> None:
        if world_size() == 1:
            return
        gradients = []
        for parameter in self.trained.values():
            if (
                not parameter.requires_grad
            ):  # frozen in this step, at all workers: the optimizer passes over it
                continue
            if parameter.grad is None:  # a worker may not have used it; all must reduce the same list
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.reshape(-1).to(self.communication) for gradient in gradients])
        flat = all_sum(flat).float().div_(world_size())
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def check_shape(name: str, found: Tensor, expected: Tensor) -> None:
    """Raises ValueError unless the shapes are the same.

    Args:
        found: the tensor that came.
        expected: one of the right shape.
    """
    if found.shape != expected.shape:
        raise ValueError(f"{name}: saved shape {list(found.shape)}, expected {list(expected.shape)}")


def mean_of(reported: Sequence[Metrics]) -> Metrics:
    """Mean of each metric over those that have it (NaN: has it not)."""
    names = {name: None for metrics in reported for name in metrics}
    return {
        name: torch.nanmean(torch.stack([metrics[name].float() for metrics in reported if name in metrics]))
        for name in names
    }


def set_rate(groups: Iterable[dict[str, Any]], rate: float) -> None:
    """Give each of an optimizer's groups its share of the learning rate."""
    for group in groups:
        group["lr"] = rate * group.get("lr_share", 1.0)
