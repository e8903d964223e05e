"""The only training loop: it knows neither what is trained nor what runs it.

    train(engine, batches, steps=1000, start_step=0, callbacks=[...])

An engine updates, callbacks report, save and validate. All workers run the same loop, and every
callback is called on all of them, so a callback may use collective operations.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import torch

from syncflow.training.distributed import all_any, all_sum, device
from syncflow.training.engine import Engine
from syncflow.training.finite import Metrics
from syncflow.training.memory import keep_freed_memory

B = TypeVar("B")


class Callback:
    """What happens beside training; override what is needed. Steps are counted as done: 1, 2, 3 ..."""

    def on_start(self, *, start_step: int, steps: int) -> None:
        """Before the first step."""

    def on_step(self, step: int) -> None:
        """After each step."""

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Every `log_every` steps: means over those steps and over the workers."""

    def on_end(self, step: int) -> None:
        """After the last step, or after the one at which a stop was asked for; not after an exception."""


@dataclass
class _Window:
    """Metrics since the last log."""

    reported: list[Metrics] = field(default_factory=list)
    waited: float = 0.0  # seconds in which the data was waited for
    computed: float = 0.0  # seconds in the engine
    since: float = field(default_factory=time.perf_counter)

    def means(self, rates: Callable[[float], Mapping[str, float]]) -> dict[str, float]:
        """Collective: all workers have reported the same names."""
        names = sorted({name for metrics in self.reported for name in metrics})
        rows = [[metrics.get(name, torch.tensor(torch.nan)).to(device()).float() for name in names]
                for metrics in self.reported]  # fmt: skip
        values = torch.stack([torch.stack(row) for row in rows])
        present = values.isfinite()  # NaN: a step without this metric; Inf: one that was left out
        total = all_sum(torch.stack([values.where(present, 0.0).sum(0), present.sum(0).float()]))
        means = (total[0] / total[1].clamp_min(1)).tolist()
        seconds = time.perf_counter() - self.since
        result = {n: m for n, m, count in zip(names, means, total[1].tolist(), strict=True) if count}
        result["steps_per_second"] = len(self.reported) / seconds
        result["data_wait_fraction"] = self.waited / seconds
        for name, spent in (
            ("step_seconds", self.computed),
            ("data_wait_seconds", self.waited),
            ("callbacks_seconds", seconds - self.computed - self.waited),  # states, validation, averages ...
        ):
            result[name] = spent / len(self.reported)
        return result | dict(rates(result["steps_per_second"]))


def train(
    engine: Engine[B],
    batches: Iterable[B],
    *,
    steps: int,
    start_step: int = 0,
    accumulate: int = 1,
    log_every: int = 10,
    callbacks: Sequence[Callback] = (),
    should_stop: Callable[[], bool] = lambda: False,
    rates: Callable[[float], Mapping[str, float]] = lambda _: {},
) -> int:
    """Update until `steps` updates are done in all, and return how many are.

    Args:
        batches: those of step `start_step` first; `accumulate` of them go into one update.
        steps: the number of updates of the whole run, those before `start_step` among them.
        rates: what else is logged of steps a second, as `Throughput`.
        should_stop: asked after each step at each worker; one yes ends the loop everywhere.

    Raises:
        RuntimeError: `batches` end before the steps do.
    """
    if device().type == "cpu":
        keep_freed_memory()
    for callback in callbacks:
        callback.on_start(start_step=start_step, steps=steps)
    source, window, done = iter(batches), _Window(), start_step
    while done < steps:
        asked = time.perf_counter()
        micro_batches = list(islice(source, accumulate))
        window.waited += time.perf_counter() - asked
        if len(micro_batches) < accumulate:
            raise RuntimeError(f"the batches ended at step {done} of {steps}")
        began = time.perf_counter()
        window.reported.append(engine.step(micro_batches, step=done))
        window.computed += time.perf_counter() - began
        done += 1
        if done % log_every == 0 or done == steps:
            means, window = window.means(rates), _Window()
            for callback in callbacks:
                callback.on_log(done, means)
        for callback in callbacks:
            callback.on_step(done)
        if all_any(should_stop()):
            break
    for callback in callbacks:
        callback.on_end(done)
    return done
