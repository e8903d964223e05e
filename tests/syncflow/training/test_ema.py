"""The moving average's law: it follows fast at first, and at its decay from then on."""

from collections.abc import Iterable, Iterator

import pytest
import torch

from syncflow.training.ema import MovingAverage, OnAverage
from syncflow.training.loop import Callback


class Weights:
    """An engine whose only weight is set by hand."""

    def __init__(self) -> None:
        self.value = torch.zeros(1)

    def lend(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        ((_, value),) = weights
        self.value.copy_(value)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "a", self.value


@pytest.mark.parametrize(
    ("decay", "kept"),  # share of the old average that stays after steps 1, 2, 3 ...
    [(0.9999, [2 / 11, 3 / 12, 4 / 13, 5 / 14]), (0.25, [2 / 11, 3 / 12, 0.25, 0.25])],
)
def test_after_step_n_it_keeps_one_plus_n_over_ten_plus_n_at_most_its_decay(decay: float, kept) -> None:
    engine = Weights()
    average, expected = MovingAverage(engine, decay=decay), 0.0  # type: ignore[arg-type]
    for step, share in enumerate(kept, start=1):
        engine.value = torch.tensor([float(step**2)])
        average.on_step(step)
        expected = share * expected + (1 - share) * step**2
        assert average.average["a"].item() == pytest.approx(expected, rel=1e-6)


def test_a_long_run_forgets_at_its_decay() -> None:
    engine = Weights()
    average = MovingAverage(engine, decay=0.999)  # type: ignore[arg-type]
    average.average["a"] = torch.ones(1)
    for step in range(100_000, 100_100):
        average.on_step(step)
    assert average.average["a"].item() == pytest.approx(0.999**100, rel=1e-4)


def test_who_looks_on_the_average_leaves_the_weights_as_they_were() -> None:
    engine, seen = Weights(), []
    average = MovingAverage(engine, decay=0.5)  # type: ignore[arg-type]

    class Look(Callback):
        def on_step(self, step: int) -> None:
            seen.append((step, engine.value.item()))
            if step == 4:
                raise RuntimeError

    looking = OnAverage(average, [Look()], every=2)
    for step, expected in ((1, []), (2, [(2, 0.0)])):
        engine.value.fill_(step / 3)
        looking.on_step(step)
        assert seen == expected and engine.value.item() == torch.tensor(step / 3).item()
    average.average["a"].fill_(7.0)
    with pytest.raises(RuntimeError):
        looking.on_step(4)
    assert seen[-1] == (4, 7.0) and engine.value.item() == torch.tensor(2 / 3).item()
