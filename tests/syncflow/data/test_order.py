"""The order of training: pure, complete, mixed, and such that each row group goes to one worker once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncflow.data.order import SampleOrder, epoch_order, mixed_steps


def grouped(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=60),
    per_step=st.integers(1, 70),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_an_epoch_has_every_row_once(sizes: list[int], per_step: int, seed: int, epoch: int) -> None:
    groups = grouped(sizes)
    order = epoch_order(groups, per_step=per_step, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(groups)))


@given(start=st.integers(0, 900), count=st.integers(1, 40), seed=st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_samples_are_the_same_wherever_one_begins_to_ask(start: int, count: int, seed: int) -> None:
    groups = grouped([8] * 30)
    whole = SampleOrder(groups).rows(range(1000), per_step=16, seed=seed)
    part = SampleOrder(groups).rows(range(start, start + count), per_step=16, seed=seed)
    assert np.array_equal(part, whole[start : start + count])


def test_epochs_and_seeds_differ() -> None:
    groups = grouped([8] * 50)
    orders = [epoch_order(groups, per_step=16, seed=s, epoch=e) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(orders[a], orders[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("per_step", [32, 512])
def test_a_worker_reads_about_as_many_rows_as_it_uses(workers: int, per_step: int) -> None:
    """With room for the row groups of the steps that are mixed, of 8 rows each, some of another split."""
    draw = np.random.default_rng(0)
    groups = grouped(draw.integers(6, 9, 20_000).tolist())
    order = epoch_order(groups, per_step=per_step, seed=0, epoch=0)
    used = len(order) // per_step * per_step
    steps = groups[order[:used]].reshape(-1, workers, per_step // workers)
    room = (mixed_steps(per_step) // 6 + 3) * per_step // workers  # row groups
    read = sum(_reads(steps[:, worker], room) for worker in range(workers))
    assert read * 8 / used < 1.2, "a permutation of rows reads 8 times as much"


def _reads(steps: np.ndarray, room: int) -> int:
    """How often a worker that keeps the `room` row groups used last goes to the disk."""
    kept: dict[int, None] = {}
    reads = 0
    for group in steps.ravel().tolist():
        if group in kept:
            del kept[group]
        else:
            reads += 1
        kept[group] = None
        if len(kept) > room:
            del kept[next(iter(kept))]
    return reads


def test_a_step_takes_its_samples_from_as_many_row_groups_and_mixes_them_anew() -> None:
    groups = grouped([8] * 2000)
    first, second = (
        groups[epoch_order(groups, per_step=64, seed=0, epoch=epoch)].reshape(-1, 64) for epoch in (0, 1)
    )
    assert np.mean([len(set(step)) for step in first.tolist()]) > 63
    # who is in a step with whom: of the pairs of an epoch hardly one comes again in the next
    one, other = (
        {frozenset(pair) for step in epoch.tolist() for pair in pairwise(step)} for epoch in (first, second)
    )
    assert len(one & other) < 0.01 * len(one)
    # windows of a row group lie apart, within the steps that are mixed; but for those that two lanes share
    apart = np.array([np.ptp(np.flatnonzero((first == group).any(axis=1))) for group in range(0, 2000, 20)])
    assert np.mean(apart < mixed_steps(64) + 8) > 0.9 and np.median(apart) > 30
