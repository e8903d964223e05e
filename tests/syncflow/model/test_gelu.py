import pytest
import torch
import torch.nn.functional as F

from syncflow.model.gelu import gelu


def test_values_and_gradients_are_those_of_torchs_tanh_form(tools):
    x = torch.cat(
        [4 * tools.normal(5000), torch.linspace(-12, 12, 4001), torch.tensor([0.0, -1e4, 1e4, -1e12])]
    )
    gradient = tools.normal(*x.shape, seed=2)
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = gelu(ours), F.gelu(plain, approximate="tanh")
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
    for_ours, for_plain = (
        torch.autograd.grad(y, at, gradient)[0] for y, at in ((found, ours), (expected, plain))
    )
    torch.testing.assert_close(for_ours, for_plain, rtol=2e-6, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    """In float64, which the function itself leaves to torch, the formula is exact."""
    from syncflow.model.gelu import _SigmoidGELU

    x = torch.linspace(-6, 6, 41, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_SigmoidGELU.apply, (x,))


def test_a_second_derivative_is_refused_rather_than_wrong(tools):
    x = tools.normal(8).requires_grad_()
    gradient = torch.ones(8, requires_grad=True)
    (slope,) = torch.autograd.grad(gelu(x), x, gradient, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_torchs_own(tools, dtype: torch.dtype):
    x = tools.normal(300).to(dtype).requires_grad_()
    assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))
