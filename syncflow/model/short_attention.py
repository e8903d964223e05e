"""Attention to few keys on a CPU: nine frames, a frame's patches, a short prompt.

torch's kernel for CPUs works in tiles of many keys, and for so few it spends most of its time beside the
products, in bfloat16 above all. Here the weights of a whole batch lie in memory and are batched products,
in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST_KEYS = 128  # with gradients; beyond, the weights take more memory than time is won
NARROW = 16  # keys below which this is faster without gradients too: torch's softmax then uses no vectors
LOG2_E = 1.4426950408889634


def attend(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """`F.scaled_dot_product_attention` of `b h n d` and `b h l d`; `mask` (bool `b 1 1 l`): the keys to read.

    The same numbers up to rounding, the faster way: on a CPU few keys are attended to here.
    """
    if not _for_us(query, key, value):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        mixed = _ShortAttention.apply(query.float(), key.float(), value.float(), mask)
        return mixed.to(query.dtype)


def _for_us(query: Tensor, key: Tensor, value: Tensor) -> bool:
    if query.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if query.dtype not in (torch.float32, torch.bfloat16):
        return False
    if query.dtype == torch.float32 and torch.is_autocast_enabled("cpu"):
        return False  # it rounds them
    graph = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
    return key.shape[2] <= MOST_KEYS if graph else key.shape[2] < NARROW


class _ShortAttention(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        ctx.heads = query.shape[:2]
        query, key, value = (each.flatten(0, 1) for each in (query, key, value))  # (b h) n d
        ctx.scale = query.shape[-1] ** -0.5
        if mask is None:
            scores = torch.baddbmm(query.new_empty(1), query, key.mT, beta=0, alpha=ctx.scale)  # (b h) n l
            weights = _softmax(scores)
        else:
            read = mask.expand(*ctx.heads, 1, -1).flatten(0, 1)  # (b h) 1 l
            bias = query.new_zeros(read.shape).masked_fill_(~read, torch.finfo(query.dtype).min)
            scores = torch.baddbmm(bias, query, key.mT, alpha=ctx.scale)
            weights = _softmax(scores).mul_(read)  # where no key is to be read: 0, as torch has it
        ctx.save_for_backward(query, key, value, weights)
        return (weights @ value).unflatten(0, ctx.heads)

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        query, key, value, weights = ctx.saved_tensors
        gradient = gradient.flatten(0, 1)
        for_value = weights.mT @ gradient
        for_scores = _softmax_backward(gradient @ value.mT, weights).mul_(ctx.scale)
        for_query, for_key = for_scores @ key, for_scores.mT @ query
        return *(each.unflatten(0, ctx.heads) for each in (for_query, for_key, for_value)), None


def _softmax(scores: Tensor) -> Tensor:
    """Over the last axis; `scores` may be overwritten."""
    if scores.shape[-1] >= NARROW:
        return scores.softmax(-1)
    raised = scores.sub_(scores.amax(-1, keepdim=True)).mul_(LOG2_E).exp2_()
    return raised.div_(raised.sum(-1, keepdim=True))


def _softmax_backward(gradient: Tensor, weights: Tensor) -> Tensor:
    """`gradient` may be overwritten."""
    if weights.shape[-1] >= NARROW:
        return torch._softmax_backward_data(gradient, weights, -1, gradient.dtype)
    gradient.mul_(weights)
    return gradient.addcmul_(weights, gradient.sum(-1, keepdim=True), value=-1)
