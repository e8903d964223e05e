"""Moving average of the weights, each tensor at one worker."""

from collections.abc import Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor

from syncflow.training.distributed import owner, rank
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
