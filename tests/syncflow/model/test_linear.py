import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from syncflow.model import linear
from syncflow.model.linear import Linear, linear_gelu

SIZES = [(2, 48, 128, 256), (300, 128, 96), (5, 16, 8)]  # ... in out: two above the threshold, one below


@pytest.mark.parametrize("size", SIZES)
def test_results_and_gradients_are_those_of_a_plain_linear_map(tools, size: tuple[int, ...]):
    *batch, fan_in, fan_out = size
    layer, gradient = Linear(fan_in, fan_out), tools.normal(*batch, fan_out, seed=2)
    results = []
    for call in (layer, lambda x: F.linear(x, layer.weight, layer.bias)):
        x = tools.normal(*batch, fan_in).requires_grad_()
        y = call(x)
        found = torch.autograd.grad(y, (x, layer.weight, layer.bias), gradient)
        results.append((y, *found))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_a_frozen_map_passes_the_gradient_on_and_a_leaf_input_gets_none(tools):
    layer = Linear(128, 256).requires_grad_(False)
    x = tools.normal(100, 128)
    assert not layer(x).requires_grad
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None and layer.weight.grad is None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("graph", [False, True])
def test_the_fused_gelu_is_the_gelu_of_the_map(tools, size: tuple[int, ...], graph: bool):
    *batch, fan_in, fan_out = size
    layer, x = Linear(fan_in, fan_out), tools.normal(*batch, fan_in)
    with torch.set_grad_enabled(graph):
        found, expected = linear_gelu(layer, x), F.gelu(layer(x), approximate="tanh")
    assert found.requires_grad == graph
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_fused_gelu_in_bfloat16_is_as_near_to_the_exact_one(
    tools, size: tuple[int, ...], autocast: bool
) -> None:
    *batch, fan_in, fan_out = size
    layer, x = Linear(fan_in, fan_out), tools.normal(*batch, fan_in)
    with torch.no_grad():
        exact = F.gelu(layer(x), approximate="tanh")
        if not autocast:
            layer, x = layer.bfloat16(), x.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found, apart = linear_gelu(layer, x), F.gelu(layer(x), approximate="tanh")
    assert found.dtype == apart.dtype == torch.bfloat16
    errors = [(each.float() - exact).norm() for each in (found, apart)]
    assert errors[0] <= 1.05 * errors[1]


def test_a_map_that_something_else_wraps_is_called_as_it_is(tools):
    """Adapters put modules in a layer's place; the fused pass must not reach past them."""
    layer, x = torch.nn.Sequential(Linear(128, 256), torch.nn.ReLU()), tools.normal(100, 128)
    with torch.no_grad():
        torch.testing.assert_close(linear_gelu(layer, x), F.gelu(layer(x), approximate="tanh"))


def test_flops_are_counted_on_either_path(tools, monkeypatch: pytest.MonkeyPatch):
    layer, x = Linear(128, 256), tools.normal(100, 128).requires_grad_()
    counts = []
    for smallest in (0, 10**12):
        monkeypatch.setattr(linear, "SMALLEST", smallest)
        with FlopCounterMode(display=False) as counter:
            layer(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts == [3 * 2 * 100 * 128 * 256] * 2
