import pytest
import torch
from torch import Tensor

from syncflow.model import query_key
from syncflow.model.attention import Rotation, SelfAttention, rotary_frequencies, rotation


def attention(tools) -> SelfAttention:
    made = SelfAttention(32, num_heads=4)
    with torch.no_grad():
        for seed, norm in enumerate((made.query_norm, made.key_norm)):
            norm.weight.copy_(1 + 0.3 * tools.normal(8, seed=seed))
    return made


def results(
    layer: SelfAttention, qkv: Tensor, turn: Rotation | None, gradients: list[Tensor]
) -> tuple[Tensor, ...]:
    given = qkv, layer.query_norm.weight, layer.key_norm.weight
    made = layer._placed(qkv, turn)
    return *made, *torch.autograd.grad(made, given, gradients)


@pytest.mark.parametrize("placed", [True, False])
def test_values_and_gradients_are_those_of_the_separate_steps(
    tools, placed: bool, monkeypatch: pytest.MonkeyPatch
):
    layer, qkv = attention(tools), (3 * tools.normal(2, 9, 5, 3, 4, 8)).requires_grad_()
    turn = rotation(torch.arange(9), rotary_frequencies(8)) if placed else None
    gradients = [tools.normal(2, 5, 4, 9, 8, seed=seed).permute(0, 3, 1, 2, 4) for seed in range(3)]
    assert query_key.is_faster(qkv)
    ours = results(layer, qkv, turn, gradients)
    monkeypatch.setattr(query_key, "is_faster", lambda qkv: False)
    for found, expected in zip(ours, results(layer, qkv, turn, gradients), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("placed", [True, False])
def test_gradients_are_those_of_finite_differences(tools, placed: bool):
    qkv = tools.normal(1, 3, 2, 3, 2, 4).double().requires_grad_()
    weights = [(1 + 0.3 * tools.normal(4, seed=seed)).double().requires_grad_() for seed in (1, 2)]
    turn = rotation(torch.arange(3), rotary_frequencies(4))
    turns = torch.complex(*(part.double() for part in turn))[:, None, None, None] if placed else None
    assert torch.autograd.gradcheck(
        lambda *given: query_key.norm_and_rotate(given[0], given[1], given[2], turns, eps=1e-6),
        (qkv, *weights),
    )


def test_a_second_derivative_is_refused_rather_than_wrong(tools):
    layer, qkv = attention(tools), tools.normal(2, 9, 5, 3, 4, 8).requires_grad_()
    query = layer._placed(qkv, None)[0]
    (for_qkv,) = torch.autograd.grad(
        query, qkv, torch.ones(query.shape, requires_grad=True), create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        for_qkv.sum().backward()


@pytest.mark.parametrize("within_autocast", [False, True])
@pytest.mark.parametrize("placed", [True, False])
def test_bfloat16_is_nearer_to_float32_than_the_separate_steps(
    tools, placed: bool, within_autocast: bool, monkeypatch: pytest.MonkeyPatch
):
    layer, qkv = attention(tools), (3 * tools.normal(2, 9, 5, 3, 4, 8)).bfloat16().requires_grad_()
    turn = rotation(torch.arange(9), rotary_frequencies(8)) if placed else None
    gradients = [tools.normal(2, 9, 5, 4, 8, seed=seed).bfloat16() for seed in range(3)]
    exact = results(layer, qkv.detach().float().requires_grad_(), turn, [each.float() for each in gradients])
    errors = []
    for whether in (True, False):
        monkeypatch.setattr(query_key, "is_faster", lambda qkv, whether=whether: whether)
        with torch.autocast("cpu", enabled=within_autocast):
            found = results(layer, qkv, turn, gradients)
        assert [each.dtype for each in found[:4]] == [torch.bfloat16] * 4
        pairs = zip(found, exact, strict=True)
        errors.append(sum(float(((a - b).norm() / b.norm()).detach()) for a, b in pairs))
    assert errors[0] <= errors[1]


def test_other_types_and_rounding_by_autocast_take_the_separate_steps(tools):
    qkv = tools.normal(2, 9, 5, 3, 4, 8)
    assert query_key.is_faster(qkv)
    assert not query_key.is_faster(qkv.double())
    assert not query_key.is_faster(qkv.to("meta"))
    with torch.autocast("cpu"):
        assert not query_key.is_faster(qkv)
        assert query_key.is_faster(qkv.bfloat16())
