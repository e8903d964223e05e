"""Moving average of the weights, each tensor at one worker."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from syncflow.training.distributed import broadcast, owner, rank
from syncflow.training.engine import Engine
from syncflow.training.loop import Callback

AT_ONCE = 32  # tensors that move together, in few GPU kernels


class MovingAverage(Callback):
    """After step n the average moves by 1 - min(decay, (1 + n) / (10 + n)) towards the weights, in float32.

    A worker holds the average of the tensors that it owns, so the memory is shared out as in ZeRO.
    """

    def __init__(self, engine: Engine, *, decay: float) -> None:
        self.engine, self.decay = engine, decay
        self.average = {
            name: value.float().clone() for name, value in engine.weights() if owner(f"ema/{name}") == rank()
        }

    @torch.no_grad()
    def on_step(self, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        weights = self.engine.weights()  # collective under ZeRO-3, which gathers each when it is asked for
        mine = ((self.average[name], value.float()) for name, value in weights if name in self.average)
        while group := list(islice(mine, AT_ONCE)):
            averages, values = zip(*group, strict=True)
            torch._foreach_lerp_(averages, values, share)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """This worker's averages, named `ema/<parameter>`."""
        for name, value in self.average.items():
            yield f"ema/{name}", value

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over averages saved by any number of workers."""
        for name, value in self.average.items():
            value.copy_(state[f"ema/{name}"])

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """While the block runs the engine evaluates with the averages; then it has its own weights again.

        Collective.
        """
        own = {name: value.to("cpu", copy=True) for name, value in self.engine.weights()}
        self.engine.lend(self._whole(own))
        try:
            yield
        finally:
            self.engine.lend(own.items())

    def _whole(self, like: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Each average at every worker, from the one that keeps it."""
        for name, value in like.items():
            mine = self.average.get(name)
            yield name, broadcast(value.float() if mine is None else mine, source=owner(f"ema/{name}"))


class OnAverage(Callback):
    """Calls others while the averaged weights are in place: those that a stage hands over.

    Args:
        callbacks: of this worker; others may have none, and take part all the same.
        every: steps between their turns; they have one at the end, too.
    """

    def __init__(self, average: MovingAverage, callbacks: Sequence[Callback], *, every: int) -> None:
        self.average, self.callbacks, self.every = average, callbacks, every

    def on_start(self, *, start_step: int, steps: int) -> None:
        for callback in self.callbacks:
            callback.on_start(start_step=start_step, steps=steps)

    def on_step(self, step: int) -> None:
        if step % self.every == 0:
            with self.average.lent():
                for callback in self.callbacks:
                    callback.on_step(step)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        for callback in self.callbacks:
            callback.on_log(step, metrics)

    def on_end(self, step: int) -> None:
        with self.average.lent():
            for callback in self.callbacks:
                callback.on_end(step)


def on_average(
    callbacks: Sequence[Callback], average: MovingAverage | None, *, every: int
) -> Sequence[Callback]:
    """`callbacks`, which look at the model `every` steps, with the averaged weights; as they are without."""
    return callbacks if average is None or not every else [OnAverage(average, callbacks, every=every)]
