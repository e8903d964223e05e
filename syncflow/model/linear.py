"""The linear map of every block, on the faster of torch's two CPU libraries."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from syncflow.model.gelu import gelu

_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_HAS_BFLOAT16 = _HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()
SMALLEST = 2**21  # multiplications below which the call itself weighs more


class Linear(nn.Linear):
    """`nn.Linear` whose float32 products on a CPU run in oneDNN.

    torch sends them to MKL, which keeps to narrow vectors on CPUs that are not Intel's: on an EPYC with
    AVX-512 oneDNN is twice as fast, with AVX2 alone a tenth (docs/performance.md). Same numbers up to
    rounding; on other devices and types, for small products and in compiled code, this is `nn.Linear` itself.
    """

    def forward(self, input: Tensor) -> Tensor:
        if _for_onednn(input, self.weight):
            return _OneDNNLinear.apply(input, self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)


def linear_gelu(layer: nn.Module, x: Tensor) -> Tensor:
    """`gelu(layer(x))`, tanh form; where no graph is built, in the pass that makes the product."""
    if type(layer) is Linear and not _builds_graph(x, layer.weight):
        given = (x, layer.weight, layer.bias)
        if _in_bfloat16(x, layer.weight):
            given = tuple(each.bfloat16() for each in given)  # as autocast does
            return torch.ops.mkldnn._linear_pointwise(*given, "gelu", [], "tanh")
        if _for_onednn(x, layer.weight):
            return torch.ops.mkldnn._linear_pointwise(*given, "gelu", [], "tanh")
    return gelu(layer(x))


def _builds_graph(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _for_onednn(x: Tensor, weight: Tensor) -> bool:
    kinds = {x.dtype, weight.dtype}
    return _is_large(x, weight) and kinds == {torch.float32} and not torch.is_autocast_enabled("cpu")


def _in_bfloat16(x: Tensor, weight: Tensor) -> bool:
    """Whether the product is one of bfloat16: of tensors of that type, or by autocast."""
    if not (_HAS_BFLOAT16 and _is_large(x, weight)):
        return False
    kinds = {x.dtype, weight.dtype}
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16 and kinds <= {torch.float32, torch.bfloat16}
    return kinds == {torch.bfloat16}


def _is_large(x: Tensor, weight: Tensor) -> bool:
    """Whether the product is large enough for a call of oneDNN, on a CPU, and not being compiled."""
    return (
        _HAS_ONEDNN
        and not torch.compiler.is_compiling()
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * weight.shape[0] >= SMALLEST
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(gradient, weight.t()) if for_x else None,
            _transposed_product(rows, x.reshape(-1, x.shape[-1])) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _transposed_product(left: Tensor, right: Tensor) -> Tensor:
    """`left^T right` of `n i` and `n j`. oneDNN takes a copy of what stands first, so the narrower does."""
    if left.shape[1] > right.shape[1]:
        return _product(right.t(), left.t()).t().contiguous()
    return _product(left.t(), right.t())


if _HAS_ONEDNN:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flop(x_shape: list[int], weight_shape: list[int], *_args: object, **_keywords: object) -> int:
        """What `FlopCounterMode` counts for it: as for any matrix product."""
        return 2 * math.prod(x_shape) * weight_shape[0]
