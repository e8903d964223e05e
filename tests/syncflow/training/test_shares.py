"""How an update is shared out over workers and forward passes."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.training import shares as module
from syncflow.training.shares import forward_passes, shares
from syncflow.training.validation import average


@given(st.integers(0, 9), st.integers(1, 40), st.integers(1, 12), st.integers(1, 9))
def test_every_sample_is_in_one_pass_of_one_worker(step: int, size: int, workers: int, largest: int) -> None:
    assume(size >= workers)
    try:
        passes = forward_passes(size, workers=workers, largest=largest)
    except UserError:
        assume(False)
    update = range(step * size, (step + 1) * size)
    every = [shares(update, rank=r, workers=workers, passes=passes) for r in range(workers)]
    assert [g for parts in every for part in parts for g in part.samples] == list(update)
    assert all(len(parts) == passes for parts in every)
    assert all(1 <= len(part.samples) <= largest for parts in every for part in parts)
    # the mean of weighted means over passes and workers is the mean over samples
    mean = sum(p.weight * sum(p.samples) / len(p.samples) for parts in every for p in parts)
    assert mean / (workers * passes) == pytest.approx(sum(update) / size)


def test_even_shares_weigh_exactly_one() -> None:
    passes = forward_passes(32, workers=2, largest=8)
    assert passes == 2
    assert all(p.weight == 1.0 for r in (0, 1) for p in shares(range(32), rank=r, workers=2, passes=passes))


def test_a_worker_without_a_sample_is_refused() -> None:
    with pytest.raises(UserError, match="choose a number of workers that divides 5"):
        forward_passes(5, workers=2, largest=1)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_validation_counts_every_window_once(settings, monkeypatch, workers: int) -> None:
    """Four held-out windows, three a batch: the last block leaves some workers without."""
    monkeypatch.setattr(module, "world_size", lambda: workers)
    config = settings("video", batch_size=3, workers=1)
    held_out, seen = LatentDataset(config.data, split="test"), []
    for worker in range(workers):
        monkeypatch.setattr(module, "rank", lambda worker=worker: worker)
        batches, counts = module.held_out_batches(held_out, config)
        assert len(batches) == 2
        seen += [i for batch, n in zip(batches, counts, strict=True) for i in batch.index.tolist()[:n]]
    assert sorted(seen) == list(range(4))


def test_a_mean_is_over_samples_and_over_those_that_have_the_metric() -> None:
    def metrics(loss: float, mismatched: float) -> dict[str, torch.Tensor]:
        return {"loss": torch.tensor(loss), "mismatched": torch.tensor(mismatched)}

    rows = [metrics(1.0, torch.nan), metrics(4.0, 2.0), metrics(100.0, 100.0)]
    assert average(rows, [1, 2, 0]) == {"loss": 3.0, "mismatched": 2.0}
