"""How an update is shared out over workers and forward passes."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from syncflow.errors import UserError
from syncflow.training.shares import forward_passes, shares


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
