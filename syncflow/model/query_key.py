"""Norms of queries and keys and their rotary positions in one step, on a CPU; it computes in float32."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def is_faster(qkv: Tensor) -> bool:
    """Whether `norm_and_rotate` may take the place of the separate steps: on a CPU, not compiled."""
    if qkv.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return qkv.dtype == torch.bfloat16 or (
        qkv.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")  # autocast rounds them
    )


def norm_and_rotate(
    qkv: Tensor, query_weight: Tensor, key_weight: Tensor, turns: Tensor | None, *, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, each head RMS-normed and then turned by its position, and the values as they are.

    Args:
        qkv: `b n g 3 h d`.
        query_weight: of the norm, `d`; key_weight: likewise.
        eps: what the norm adds to a head's mean square.
        turns: complex64 `n 1 1 1 d/2`, a turn for each adjacent pair of channels; None: no positions.

    Returns:
        Three `b n g h d`, in three quarters of the time of the separate steps, forward and backward.
    """
    with torch.autocast("cpu", enabled=False):
        return _NormAndRotate.apply(qkv, query_weight, key_weight, turns, eps)


class _NormAndRotate(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(
        ctx, qkv: Tensor, query_weight: Tensor, key_weight: Tensor, turns: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads, d = qkv.shape[-2:]
        ctx.types = qkv.dtype, query_weight.dtype
        both, value = _exact(qkv[..., :2, :, :]), qkv[..., 2, :, :]
        inverse = ((both * both) @ _mean_of(d, both)).add_(eps).rsqrt_()  # b n g 2 h 1
        weight = _exact(torch.stack((query_weight, key_weight)))[:, None].expand(2, heads, d).contiguous()
        normed = both * inverse
        learns = any(ctx.needs_input_grad)
        placed = normed * weight if learns else normed.mul_(weight)
        if turns is not None:
            _rotate(placed, turns)
        if learns:
            ctx.save_for_backward(normed, inverse, weight, turns)
        query, key = placed.to(qkv.dtype).unbind(-3)
        return query, key, value

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(  # type: ignore[override]
        ctx, for_query: Tensor, for_key: Tensor, for_value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        normed, inverse, weight, turns = ctx.saved_tensors
        *outer, _, heads, d = normed.shape
        gradient = _exact(torch.stack((for_query, for_key), dim=-3))
        if turns is not None:
            _rotate(gradient, turns.conj())
        product = gradient * normed
        for_weight = product.view(-1, 2 * heads * d).sum(0).view(2, heads, d).sum(1).to(ctx.types[1])
        along = product.mul_(weight) @ _mean_of(d, product)  # of the gradient, what only makes a head longer
        gradient.mul_(weight).addcmul_(normed, along, value=-1)
        for_qkv = gradient.new_empty(*outer, 3, heads, d, dtype=ctx.types[0])
        torch.mul(gradient, inverse, out=for_qkv[..., :2, :, :])
        for_qkv[..., 2, :, :] = for_value
        return for_qkv, for_weight[0], for_weight[1], None, None


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def _mean_of(d: int, like: Tensor) -> Tensor:
    """`d 1`: a product with it is the mean over `d` channels, faster than torch's."""
    return like.new_full((d, 1), 1 / d)


def _rotate(x: Tensor, turns: Tensor) -> None:
    torch.view_as_complex(x.unflatten(-1, (-1, 2))).mul_(turns)
