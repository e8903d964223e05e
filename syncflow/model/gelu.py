"""The tanh GELU of training in float32 on a CPU."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SLOPE = 2 * math.sqrt(2 / math.pi)  # gelu(x) = x sigmoid(SLOPE x + CUBE x^3)
CUBE = 0.044715 * SLOPE


def gelu(x: Tensor) -> Tensor:
    """GELU, tanh form.

    Where a CPU trains in float32 it is computed by its sigmoid, the same numbers up to rounding: torch's own
    takes twice as long, forward and backward together (docs/performance.md).
    """
    if (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.requires_grad
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    ):
        return _SigmoidGELU.apply(x)
    return F.gelu(x, approximate="tanh")


class _SigmoidGELU(torch.autograd.Function):
    """Of the input only the slope at it is kept: the backward pass is one product."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        square, constant = x * x, x.new_tensor(SLOPE)
        sigmoid = torch.add(constant, square, alpha=CUBE).mul_(x).sigmoid_()
        inner = torch.add(constant, square, alpha=3 * CUBE, out=square)  # slope of what it is the sigmoid of
        x_by_sigmoid = torch.ops.aten.sigmoid_backward(x, sigmoid)  # x sigmoid (1 - sigmoid)
        ctx.save_for_backward(torch.addcmul(sigmoid, x_by_sigmoid, inner, out=inner))
        return x * sigmoid

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return gradient * slope
