import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syncflow.noise import keyed_generator

part = st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=8))
key = st.lists(part, min_size=1, max_size=4)


def draw(*parts: int | str) -> torch.Tensor:
    return torch.randn(4, generator=keyed_generator(*parts))


@settings(max_examples=50, deadline=None)
@given(key)
def test_equal_keys_give_equal_draws(parts: list[int | str]) -> None:
    assert torch.equal(draw(*parts), draw(*parts))


@settings(max_examples=100, deadline=None)
@given(key, key)
def test_different_keys_give_different_draws(one: list[int | str], other: list[int | str]) -> None:
    assert (one == other) == torch.equal(draw(*one), draw(*other))


def test_parts_of_a_key_do_not_run_together() -> None:
    keys = [(1, 2), (12,), ("1", 2), ("12",), ("1", "2"), (2, 1)]
    assert len({tuple(draw(*k).tolist()) for k in keys}) == len(keys)


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw("noise", 0)
    assert torch.equal(torch.get_rng_state(), before)
