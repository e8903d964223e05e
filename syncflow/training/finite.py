"""Nothing that is not finite: an update is judged before it is made, and tensors before they are saved."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from syncflow.errors import UserError
from syncflow.training.distributed import rank, world_size

Metrics = dict[str, Tensor]
Fault = Callable[
    [Metrics, Any], str
]  # what is not finite in a batch's metrics, by its samples; "" where nothing


class NotFiniteError(UserError):
    """Training met NaN or Inf; raised by all workers, and nothing that holds it has been saved."""


def loss_fault(metrics: Metrics, batch: Any) -> str:
    """A `Fault` for batches whose samples have no names."""
    del batch
    loss = metrics["loss"].item()
    return "" if _is_finite(loss) else f"the loss is {loss}"


def nan_unless_finite(loss: Tensor) -> Tensor:
    """The loss; of one that is not finite the gradient is NaN, also where it would be finite (an overflow).

    The norm of the gradient then tells all workers and engines about the loss of one of them.
    """
    return loss * (1.0 + 0.0 * loss.detach())


class UpdateGuard:
    """Decides whether an update is made, by the norm of its gradient; the same at all workers.

    Args:
        limit: how many updates may be left out since the start of the process; one more ends training.
        fault: names the samples of a batch whose loss is not finite.
        what: whose gradient it is, for messages.
    """

    def __init__(self, *, limit: int = 0, fault: Fault = loss_fault, what: str = "") -> None:
        self.limit, self.fault, self.what = limit, fault, what
        self.skipped = 0
        self.waited = 0.0  # seconds in which the host waited for the last norm

    def allows(self, norm: Tensor, *, step: int, reported: Sequence[tuple[Metrics, Any]]) -> bool:
        """Whether update number `step` (from 0) may be made. Collective where the answer is no.

        Args:
            norm: of the gradient over all workers.
            reported: metrics of each batch of the update, and the batch.

        Raises:
            NotFiniteError: it may not, and as many as `limit` have been left out already.
        """
        asked = time.perf_counter()
        value = norm.item()
        self.waited = time.perf_counter() - asked
        if _is_finite(value):
            return True
        of = f"{self.what} " if self.what else ""
        told = f"step {step + 1}: {of}gradient norm is {value}"
        told += "".join(f"; {text}" for text in gathered(faults_of(reported, self.fault)))
        if self.skipped == self.limit:
            done = f" ({self.skipped} updates were left out before it)" if self.limit else ""
            raise NotFiniteError(told + done)
        self.skipped += 1
        if rank() == 0:
            print(f"{told}; update left out ({self.skipped} of at most {self.limit})", flush=True)
        return False

    def metrics(self) -> Metrics:
        """Seconds that the host waited for the device, and how many updates were left out so far."""
        found = {"host_wait_seconds": torch.tensor(self.waited)}
        return found | ({"skipped_updates": torch.tensor(float(self.skipped))} if self.limit else {})


def faults_of(reported: Iterable[tuple[Metrics, Any]], fault: Fault) -> list[str]:
    """What is not finite in the metrics of each batch."""
    return [text for metrics, batch in reported if (text := fault(metrics, batch))]


def gathered(texts: list[str]) -> list[str]:
    """The texts of all workers, in the order of their ranks. Collective."""
    if world_size() == 1:
        return texts
    every: list[list[str] | None] = [None] * world_size()
    dist.all_gather_object(every, texts)
    return [text for part in every for text in part or ()]


def _is_finite(value: float) -> bool:
    return value - value == 0.0
