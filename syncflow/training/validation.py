"""Loss on held-out samples, with noise and times that are the same at every validation."""

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import torch

from syncflow.training.distributed import all_sum, device
from syncflow.training.engine import Engine
from syncflow.training.finite import Fault, Metrics, NotFiniteError, faults_of, gathered, loss_fault
from syncflow.training.loop import Callback

B = TypeVar("B")


class Validation(Callback, Generic[B]):
    """Evaluates the same batches every `every` steps and at the end, and tells the `reporters`.

    What it reports is named `validation/<metric>`. Each worker evaluates its own part of the batches.

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
        fault: Fault = loss_fault,
    ) -> None:
        assert batches, "nothing to validate on"
        self.engine, self.batches, self.every, self.reporters = engine, batches, every, reporters
        self.fault = fault
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
        self.last, self.done = average(reported), step
        named = {f"validation/{name}": value for name, value in self.last.items()}
        for reporter in self.reporters:
            reporter.on_log(step, named)


def average(reported) -> dict[str, float]:
    """Means over batches and workers of those that have a metric. Collective."""
    rows: list[Metrics] = list(reported)
    names = sorted({name for metrics in rows for name in metrics})
    values = torch.tensor(
        [[float(metrics.get(name, torch.nan)) for name in names] for metrics in rows], device=device()
    )
    present = ~values.isnan()
    sums, counts = all_sum(torch.stack([values.nan_to_num(0.0).sum(0), present.sum(0).float()])).tolist()
    return {name: s / c for name, s, c in zip(names, sums, counts, strict=True) if c}
