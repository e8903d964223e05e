"""Sequences that share a GPU's tile: as if each were alone."""

import pytest
import torch

from syncflow.model.temporal_attention import TILE, group_size, grouped, plain


def drawn(n: int, g: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(2, n, g, 2, 8, generator=generator, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize(
    ("n", "g"), [(9, 256), (9, 16), (5, 12), (30, 6), (9, 7), (1, 64), (70, 4), (200, 2)]
)
def test_groups_under_a_mask_are_the_plain_attention_with_its_gradients(n: int, g: int) -> None:
    inputs = drawn(n, g)
    expected, found = plain(*inputs), grouped(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
    weight = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize(("n", "g", "group"), [(9, 256, 8), (9, 920, 10), (9, 7, 7), (9, 13, 13), (9, 17, 1)])
def test_as_many_share_a_tile_as_fit_and_divide(n: int, g: int, group: int) -> None:
    assert group_size(n, g) == group and group * n <= TILE


def test_a_sequence_longer_than_a_tile_stays_alone() -> None:
    assert group_size(TILE + 1, 256) == 1


def test_groups_compile_as_one_graph() -> None:
    inputs = [each.detach() for each in drawn(9, 16)]
    compiled = torch.compile(lambda *three: grouped(*three), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), plain(*inputs), rtol=1e-5, atol=2e-6)
