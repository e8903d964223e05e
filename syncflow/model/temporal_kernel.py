"""Attention over time in one Triton kernel: norms of queries and keys, rotary positions and attention.

The video tower attends along 9 latent frames for each of thousands of patches. In separate passes that
moves queries, keys and values through memory many times. Here they are read once and the result is written
once, and backward in the same way. `attend` is norm, turn and `attend_over_time`, up to rounding.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (the kernels are Triton's language in Python's syntax)

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from syncflow.model.temporal_attention import LONGEST

PATCHES = 8  # that one program works through; it adds up their share of the norms' gradients


@triton.jit
def _load_halves(pointers, half, mask):
    """The even and the odd channels of rows, float32."""
    even = tl.load(pointers + 2 * half, mask=mask, other=0.0).to(tl.float32)
    return even, tl.load(pointers + 2 * half + 1, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_halves(pointers, half, mask, even, odd):
    kind = pointers.dtype.element_ty
    tl.store(pointers + 2 * half, even.to(kind), mask=mask)
    tl.store(pointers + 2 * half + 1, odd.to(kind), mask=mask)


@triton.jit
def _normed(even, odd, weight_even, weight_odd, size: tl.constexpr, eps: tl.constexpr):
    """RMS norm of rows, and one over their root mean squares."""
    inverse = tl.rsqrt((tl.sum(even * even, 1) + tl.sum(odd * odd, 1)) / size + eps)[:, None]
    return even * inverse * weight_even[None, :], odd * inverse * weight_odd[None, :], inverse


@triton.jit
def _norm_backward(even, odd, inverse, weight_even, weight_odd, d_even, d_odd, size: tl.constexpr):
    """Gradients of the rows and of the weights, from those of `_normed`'s results."""
    unit_even, unit_odd = even * inverse, odd * inverse
    of_even, of_odd = d_even * weight_even[None, :], d_odd * weight_odd[None, :]
    mean = ((tl.sum(of_even * unit_even, 1) + tl.sum(of_odd * unit_odd, 1)) / size)[:, None]
    rows_even, rows_odd = inverse * (of_even - unit_even * mean), inverse * (of_odd - unit_odd * mean)
    return rows_even, rows_odd, tl.sum(d_even * unit_even, 0), tl.sum(d_odd * unit_odd, 0)


@triton.jit
def _turned(even, odd, cos, sin):
    return even * cos - odd * sin, odd * cos + even * sin


@triton.jit
def _weights(q_even, q_odd, k_even, k_odd, columns, n, scale, precision: tl.constexpr):
    """Softmax over the keys that there are."""
    scores = tl.dot(q_even, tl.trans(k_even), input_precision=precision)
    scores += tl.dot(q_odd, tl.trans(k_odd), input_precision=precision)
    scores = tl.where(columns[None, :] < n, scores * scale, float("-inf"))
    powers = tl.exp(scores - tl.max(scores, 1)[:, None])
    return powers / tl.sum(powers, 1)[:, None]


@triton.jit
def _forward(
    qkv, query_weight, key_weight, cos, sin, out,
    n, g, heads, scale, size: tl.constexpr, eps: tl.constexpr, precision: tl.constexpr,
    tile: tl.constexpr, half_tile: tl.constexpr, wide_tile: tl.constexpr, patches: tl.constexpr,
):  # fmt: skip
    """One head of `patches` patches: `qkv` is `b n g 3 h d`, `out` `b n g h d`, both contiguous."""
    head, batch, block = tl.program_id(0) % heads, tl.program_id(0) // heads, tl.program_id(1)
    rows, half, wide = tl.arange(0, tile), tl.arange(0, half_tile), tl.arange(0, wide_tile)
    halves = (rows[:, None] < n) & (half[None, :] < size // 2)
    wholes = (rows[:, None] < n) & (wide[None, :] < size)
    turn = rows[:, None] * (size // 2) + half[None, :]
    c, s = tl.load(cos + turn, mask=halves, other=0.0), tl.load(sin + turn, mask=halves, other=0.0)
    query_even, query_odd = _load_halves(query_weight, half, half < size // 2)
    key_even, key_odd = _load_halves(key_weight, half, half < size // 2)
    for step in range(patches):
        patch = block * patches + step
        if patch < g:
            place = ((batch * n + rows).to(tl.int64) * g + patch)[:, None]
            q = qkv + (place * 3 * heads + head) * size
            q_even, q_odd = _load_halves(q, half[None, :], halves)
            k_even, k_odd = _load_halves(q + heads * size, half[None, :], halves)
            values = tl.load(q + 2 * heads * size + wide[None, :], mask=wholes, other=0.0).to(tl.float32)
            q_even, q_odd, _ = _normed(q_even, q_odd, query_even, query_odd, size, eps)
            k_even, k_odd, _ = _normed(k_even, k_odd, key_even, key_odd, size, eps)
            q_even, q_odd = _turned(q_even, q_odd, c, s)
            k_even, k_odd = _turned(k_even, k_odd, c, s)
            weights = _weights(q_even, q_odd, k_even, k_odd, rows, n, scale, precision)
            mixed = tl.dot(weights, values, input_precision=precision)
            target = out + (place * heads + head) * size + wide[None, :]
            tl.store(target, mixed.to(out.dtype.element_ty), mask=wholes)


@triton.jit
def _backward(
    qkv, query_weight, key_weight, cos, sin, d_out, d_qkv, d_query_weight, d_key_weight,
    n, g, heads, scale, size: tl.constexpr, eps: tl.constexpr, precision: tl.constexpr,
    tile: tl.constexpr, half_tile: tl.constexpr, wide_tile: tl.constexpr, patches: tl.constexpr,
):  # fmt: skip
    """As `_forward`; a program writes its share of the norms' gradients into a row of its own."""
    head, batch, block = tl.program_id(0) % heads, tl.program_id(0) // heads, tl.program_id(1)
    rows, half, wide = tl.arange(0, tile), tl.arange(0, half_tile), tl.arange(0, wide_tile)
    halves = (rows[:, None] < n) & (half[None, :] < size // 2)
    wholes = (rows[:, None] < n) & (wide[None, :] < size)
    turn = rows[:, None] * (size // 2) + half[None, :]
    c, s = tl.load(cos + turn, mask=halves, other=0.0), tl.load(sin + turn, mask=halves, other=0.0)
    query_even, query_odd = _load_halves(query_weight, half, half < size // 2)
    key_even, key_odd = _load_halves(key_weight, half, half < size // 2)
    sum_q_even, sum_q_odd = tl.zeros((half_tile,), tl.float32), tl.zeros((half_tile,), tl.float32)
    sum_k_even, sum_k_odd = tl.zeros((half_tile,), tl.float32), tl.zeros((half_tile,), tl.float32)
    for step in range(patches):
        patch = block * patches + step
        if patch < g:
            place = ((batch * n + rows).to(tl.int64) * g + patch)[:, None]
            first = (place * 3 * heads + head) * size
            q_even, q_odd = _load_halves(qkv + first, half[None, :], halves)
            k_even, k_odd = _load_halves(qkv + first + heads * size, half[None, :], halves)
            v = qkv + first + 2 * heads * size + wide[None, :]
            values = tl.load(v, mask=wholes, other=0.0).to(tl.float32)
            source = d_out + (place * heads + head) * size + wide[None, :]
            d_mixed = tl.load(source, mask=wholes, other=0.0).to(tl.float32)

            a_even, a_odd, a_inverse = _normed(q_even, q_odd, query_even, query_odd, size, eps)
            b_even, b_odd, b_inverse = _normed(k_even, k_odd, key_even, key_odd, size, eps)
            a_even, a_odd = _turned(a_even, a_odd, c, s)
            b_even, b_odd = _turned(b_even, b_odd, c, s)
            weights = _weights(a_even, a_odd, b_even, b_odd, rows, n, scale, precision)
            d_weights = tl.dot(d_mixed, tl.trans(values), input_precision=precision)
            d_scores = weights * (d_weights - tl.sum(d_weights * weights, 1)[:, None]) * scale

            d_values = tl.dot(tl.trans(weights), d_mixed, input_precision=precision)
            target = d_qkv + first + 2 * heads * size + wide[None, :]
            tl.store(target, d_values.to(d_qkv.dtype.element_ty), mask=wholes)

            d_even = tl.dot(d_scores, b_even, input_precision=precision)
            d_odd = tl.dot(d_scores, b_odd, input_precision=precision)
            d_even, d_odd = _turned(d_even, d_odd, c, -s)  # back
            d_even, d_odd, w_even, w_odd = _norm_backward(
                q_even, q_odd, a_inverse, query_even, query_odd, d_even, d_odd, size
            )
            _store_halves(d_qkv + first, half[None, :], halves, d_even, d_odd)
            sum_q_even += w_even
            sum_q_odd += w_odd

            d_even = tl.dot(tl.trans(d_scores), a_even, input_precision=precision)
            d_odd = tl.dot(tl.trans(d_scores), a_odd, input_precision=precision)
            d_even, d_odd = _turned(d_even, d_odd, c, -s)
            d_even, d_odd, w_even, w_odd = _norm_backward(
                k_even, k_odd, b_inverse, key_even, key_odd, d_even, d_odd, size
            )
            _store_halves(d_qkv + first + heads * size, half[None, :], halves, d_even, d_odd)
            sum_k_even += w_even
            sum_k_odd += w_odd
    share = (tl.program_id(0) * tl.num_programs(1) + block) * size
    _store_halves(d_query_weight + share, half, half < size // 2, sum_q_even, sum_q_odd)
    _store_halves(d_key_weight + share, half, half < size // 2, sum_k_even, sum_k_odd)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, query_weight: Tensor, key_weight: Tensor, *rest: Any) -> Tensor:
        cos, sin, eps = rest
        qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
        ctx.save_for_backward(qkv, query_weight, key_weight, cos, sin)
        ctx.eps = eps
        b, n, g, _, heads, size = qkv.shape
        out = qkv.new_empty(b, n, g, heads, size)
        _forward[_grid(qkv)](qkv, query_weight, key_weight, cos, sin, out, **_sizes(qkv, eps))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        qkv, query_weight, key_weight, cos, sin = ctx.saved_tensors
        grid, d_qkv = _grid(qkv), torch.empty_like(qkv)
        shares = [
            qkv.new_empty(grid[0] * grid[1], qkv.shape[-1], dtype=torch.float32)
            for _ in (query_weight, key_weight)
        ]
        inputs = (qkv, query_weight, key_weight, cos, sin, gradient.contiguous())
        _backward[grid](*inputs, d_qkv, *shares, **_sizes(qkv, ctx.eps))
        d_query, d_key = (share.sum(0).to(query_weight.dtype) for share in shares)
        return d_qkv, d_query, d_key, None, None, None


def attend(
    qkv: Tensor, query_weight: Tensor, key_weight: Tensor, cos: Tensor, sin: Tensor, *, eps: float
) -> Tensor:
    """Attention along `n`, each patch and each head for itself; `b n g h d`, of `qkv`'s type.

    Args:
        qkv: queries, keys and values, `b n g 3 h d`; `n` up to `LONGEST`, `d` even.
        query_weight: of the RMS norm of a head's queries, `d`.
        key_weight: of its keys.
        cos: of the rotary angles, float32 `n d/2`; adjacent channels turn together.
        sin: likewise.
        eps: of the norms.
    """
    return _Attend.apply(qkv, query_weight, key_weight, cos, sin, eps)  # type: ignore[return-value]


def _grid(qkv: Tensor) -> tuple[int, int]:
    b, _, g, _, heads, _ = qkv.shape
    return b * heads, -(-g // PATCHES)


def _sizes(qkv: Tensor, eps: float) -> dict[str, Any]:
    _, n, g, _, heads, size = qkv.shape
    return {
        "n": n,
        "g": g,
        "heads": heads,
        "scale": size**-0.5,
        "size": size,
        "eps": eps,
        "precision": "ieee" if qkv.dtype == torch.float32 else "tf32",  # finer than bfloat16
        "tile": LONGEST,  # a matrix product of Triton's takes no fewer
        "half_tile": _power_of_two(size // 2),
        "wide_tile": _power_of_two(size),
        "patches": PATCHES,
    }


def _power_of_two(size: int) -> int:
    """The next one, that Triton's matrix products take."""
    return max(16, 1 << (size - 1).bit_length())
