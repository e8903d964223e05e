import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from syncflow.model import short_attention
from syncflow.model.short_attention import attend


def tensors(tools, *, queries: int, keys: int, heads: int = 4, batch: int = 3) -> list[Tensor]:
    """Queries, keys and values as the towers have them, `b n h d` seen as `b h n d`."""
    sizes = (queries, keys, keys)
    made = [2 * tools.normal(batch, size, heads, 16, seed=seed) for seed, size in enumerate(sizes)]
    return [each.transpose(1, 2).detach().requires_grad_() for each in made]


def torchs_own(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, mask)


def results(attention, given: list[Tensor], mask: Tensor | None, gradient: Tensor) -> tuple[Tensor, ...]:
    mixed = attention(*given, mask)
    return mixed.detach(), *torch.autograd.grad(mixed, given, gradient)


@pytest.mark.parametrize(
    ("queries", "keys"), [(9, 9), (16, 16), (50, 20), (7, 1), (30, short_attention.MOST_KEYS)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_torchs_attention(tools, queries: int, keys: int, masked: bool):
    given = tensors(tools, queries=queries, keys=keys)
    assert short_attention._for_us(*given)
    mask = None
    if masked:
        mask = tools.normal(3, 1, 1, keys, seed=7) > 0
        mask[0], mask[1] = False, True  # one sample reads nothing, one reads all
    gradient = tools.normal(3, 4, queries, 16, seed=8)
    ours = results(lambda q, k, v, m: attend(q, k, v, mask=m), given, mask, gradient)
    plain = results(lambda q, k, v, m: torchs_own(q, k, v, mask=m), given, mask, gradient)
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_scores_far_apart_stay_finite(tools):
    given = [(1e3 * each).detach().requires_grad_() for each in tensors(tools, queries=9, keys=9)]
    for found in results(lambda q, k, v, _: attend(q, k, v), given, None, tools.normal(3, 4, 9, 16, seed=8)):
        assert found.isfinite().all()


@pytest.mark.parametrize("keys", [9, 20])
def test_gradients_are_those_of_finite_differences(tools, keys: int):
    given = [
        each.detach().double().requires_grad_()
        for each in tensors(tools, queries=3, keys=keys, heads=2, batch=1)
    ]
    mask = torch.arange(keys)[None, None, None] != 1
    assert torch.autograd.gradcheck(short_attention._ShortAttention.apply, (*given, mask))


def test_a_second_derivative_is_refused_rather_than_wrong(tools):
    given = tensors(tools, queries=9, keys=9)
    gradient = torch.ones(3, 4, 9, 16, requires_grad=True)
    (for_query,) = torch.autograd.grad(attend(*given), given[:1], gradient, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        for_query.sum().backward()


@pytest.mark.parametrize("within_autocast", [False, True])
def test_bfloat16_is_nearer_to_float32_than_torchs_own(tools, within_autocast: bool):
    exact = tensors(tools, queries=9, keys=9)
    given = [each.detach().bfloat16().requires_grad_() for each in exact]
    gradient = tools.normal(3, 4, 9, 16, seed=8)
    errors = []
    for attention in (attend, torchs_own):
        with torch.autocast("cpu", enabled=within_autocast):
            mixed = attention(*given)
            assert mixed.dtype == torch.bfloat16
            found = mixed.detach(), *torch.autograd.grad(mixed, given, gradient.bfloat16())
        right = results(lambda q, k, v, _: torchs_own(q, k, v), exact, None, gradient)
        errors.append(sum(float((a - b).norm()) for a, b in zip(found, right, strict=True)))
    assert errors[0] <= 1.05 * errors[1]


def test_without_gradients_only_the_fewest_keys_are_attended_to_here(tools):
    few, more = (tensors(tools, queries=9, keys=keys) for keys in (9, short_attention.NARROW))
    with torch.no_grad():
        assert short_attention._for_us(*few)
        assert not short_attention._for_us(*more)
        torch.testing.assert_close(attend(*few), torchs_own(*few), rtol=1e-5, atol=1e-5)
    assert short_attention._for_us(*more)


def test_many_keys_and_other_types_are_torchs_own(tools):
    given = tensors(tools, queries=9, keys=9)
    assert not short_attention._for_us(*tensors(tools, queries=9, keys=short_attention.MOST_KEYS + 1))
    assert not short_attention._for_us(*(each.double() for each in given))
    with torch.autocast("cpu"):
        assert not short_attention._for_us(*given)
