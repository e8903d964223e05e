"""Loss on held-out samples, with noise and times that are the same at every validation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import torch

from syncflow.training.distributed import all_sum, device
from syncflow.training.engine import Engine
from syncflow.training.finite import Fault, Metrics, NotFiniteError, faults_of, gathered, loss_fault
from syncflow.training.loop import Callback

B = TypeVar("B")


class Validation(Callback, Generic[B]):
    """Evaluates the same batches every `every` steps and at the end, and tells the `reporters`.

    What it reports is named `validation/<metric>`, of the weights that the engine has then. Each worker
    evaluates its own part of the batches.

    Args:
        counts: for how many samples each batch counts; None: all alike.
        fault: names the samples of a batch whose loss is not finite.

    Raises:
        NotFiniteError: a loss is not finite; at all workers.
    """

    def __init__(
        self,
        engine: Engine[B],
        batches: Sequence[B],
        *,
        every: int,
        reporters: Sequence[Callback],
        counts: Sequence[int] | None = None,
        fault: Fault = loss_fault,
    ) -> None:
        assert batches, "nothing to validate on"
        self.engine, self.batches, self.every, self.reporters = engine, batches, every, reporters
        self.fault, self.counts = fault, counts or [1] * len(batches)
        self.last: Mapping[str, float] = {}
        self.done = -1

    def on_step(self, step: int) -> None:
        if step % self.every == 0:
            self._validate(step)

    def on_end(self, step: int) -> None:
        if self.done != step:
            self._validate(step)

    def _validate(self, step: int) -> None:
        reported = [self.engine.evaluate(batch) for batch in self.batches]
        if told := gathered(faults_of(zip(reported, self.batches, strict=True), self.fault)):
            raise NotFiniteError(f"step {step}: in validation, {told[0]}")
        self.last, self.done = average(reported, self.counts), step
        named = {f"validation/{name}": value for name, value in self.last.items()}
        for reporter in self.reporters:
            reporter.on_log(step, named)


def average(reported: Iterable[Metrics], counts: Sequence[int] | None = None) -> dict[str, float]:
    """Means over batches and workers of those that have a metric, each by its count. Collective."""
    rows = list(reported)
    names = sorted({name for metrics in rows for name in metrics})
    values = torch.tensor(
        [[float(metrics.get(name, torch.nan)) for name in names] for metrics in rows], device=device()
    )
    present = ~values.isnan() * torch.tensor(counts or [1] * len(rows), device=device()).unsqueeze(1).float()
    total = all_sum(torch.stack([(values.nan_to_num(0.0) * present).sum(0), present.sum(0)]).double())
    return {name: s / c for name, s, c in zip(names, *total.tolist(), strict=True) if c}
