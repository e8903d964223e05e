"""The loop and the plain engine, on a problem with a known answer."""

import time
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from syncflow.training.engine import TorchEngine
from syncflow.training.loop import Callback, train


class Line(nn.Module):
    """Fits y = 3x - 1."""

    def __init__(self) -> None:
        super().__init__()
        self.fit = nn.Linear(1, 1)
        nn.init.zeros_(self.fit.weight)
        nn.init.zeros_(self.fit.bias)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.fit(batch) - (3 * batch - 1)).square().mean()}


def batches(start: int = 0) -> Iterator[Tensor]:
    step = start
    while True:
        yield torch.randn(16, 1, generator=torch.Generator().manual_seed(step))
        step += 1


def engine(*, clip_norm: float = 0.0) -> TorchEngine[Tensor]:
    model = Line()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    return TorchEngine(model, optimizer=optimizer, schedule=lambda _: 0.05, clip_norm=clip_norm)


class Record(Callback):
    def __init__(self) -> None:
        self.logged: dict[int, float] = {}
        self.steps: list[int] = []
        self.ended: int | None = None

    def on_step(self, step: int) -> None:
        self.steps.append(step)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logged[step] = metrics["loss"]

    def on_end(self, step: int) -> None:
        self.ended = step


def test_the_known_answer_is_found() -> None:
    subject = engine()
    assert train(subject, batches(), steps=400) == 400
    assert torch.allclose(subject.objective.fit.weight, torch.tensor([[3.0]]), atol=1e-2)
    assert torch.allclose(subject.objective.fit.bias, torch.tensor([-1.0]), atol=1e-2)


def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit() -> None:
    whole, first, second = engine(), engine(), engine()
    record = Record()
    train(whole, batches(), steps=20, log_every=1, callbacks=[record])
    train(first, batches(), steps=7)
    second.restore({name: tensor.clone() for name, tensor in first.state()})
    resumed = Record()
    train(second, batches(7), steps=20, start_step=7, log_every=1, callbacks=[resumed])
    assert resumed.logged == {step: loss for step, loss in record.logged.items() if step > 7}
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(whole.state(), second.state(), strict=True))


def test_micro_batches_equal_one_large_batch() -> None:
    whole, parts = engine(), engine()
    small = [next(batches(i)) for i in range(10)]
    large = [torch.cat(pair) for pair in zip(small[::2], small[1::2], strict=True)]
    train(whole, large, steps=5)
    train(parts, batches(), steps=5, accumulate=2)
    assert torch.allclose(whole.objective.fit.weight, parts.objective.fit.weight, atol=1e-6)


def test_logs_come_at_multiples_and_at_the_end() -> None:
    record = Record()
    train(engine(), batches(), steps=25, log_every=10, callbacks=[record])
    assert list(record.logged) == [10, 20, 25]
    assert record.steps == list(range(1, 26)) and record.ended == 25


def test_waits_for_data_steps_and_callbacks_are_told_apart() -> None:
    seen: dict[str, float] = {}

    class Slow(Record):
        def on_step(self, step: int) -> None:
            time.sleep(0.01)

        def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
            seen.update(metrics)

    def slow_batches() -> Iterator[Tensor]:
        for batch in batches():
            time.sleep(0.03)
            yield batch

    train(engine(), slow_batches(), steps=5, log_every=5, callbacks=[Slow()])
    assert seen["data_wait_seconds"] >= 0.03
    assert seen["callbacks_seconds"] >= 0.008  # four of five: the log comes before the step's callbacks
    parts = ("step_seconds", "data_wait_seconds", "callbacks_seconds")
    assert sum(seen[part] for part in parts) == pytest.approx(1 / seen["steps_per_second"], rel=1e-6)
    assert 0 <= seen["host_wait_seconds"] <= seen["step_seconds"]


def test_a_stop_ends_after_the_running_step() -> None:
    record = Record()
    assert (
        train(engine(), batches(), steps=25, callbacks=[record], should_stop=lambda: len(record.steps) == 4)
        == 4
    )
    assert record.ended == 4


def test_batches_that_end_early_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended at step 3 of 5"):
        train(engine(), [next(batches())] * 3, steps=5)


def test_gradients_are_clipped() -> None:
    subject = engine(clip_norm=1e-3)
    subject.step([next(batches())], step=0)
    norm = torch.stack([p.grad.norm() for p in subject.trained.values()]).norm()
    assert norm <= 1e-3 * 1.001
