"""Attention, rotary positions and the feed-forward: what every block of both towers is made of."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syncflow.model import query_key
from syncflow.model.linear import Linear, linear_gelu
from syncflow.model.short_attention import attend
from syncflow.model.temporal_attention import LONGEST, attend_over_time

EPS = 1e-6


class Rotation(NamedTuple):
    """Rotary positions of a sequence: cosines and sines of `position x frequency`."""

    cos: Tensor  # n d/2
    sin: Tensor  # n d/2


def rotary_frequencies(
    head_dim: int, *, theta: float = 10_000.0, device: torch.device | None = None
) -> Tensor:
    """`theta^(-2i/d)`, radians a unit of position; float32 `d/2`.

    Args:
        head_dim: width d of an attention head.
    """
    return theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim)


def rotation(positions: Tensor, frequencies: Tensor) -> Rotation:
    """Angles of real-valued `positions` (`n`), kept in float32."""
    angles = positions.float()[:, None] * frequencies.float()  # n d/2
    return Rotation(angles.cos(), angles.sin())


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn each adjacent pair of channels of `x` (`b n ... d`) by the angle of its position."""
    shape = (by.cos.shape[0], *(1 for _ in range(x.ndim - 3)), -1)
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling():
        turns = torch.complex(by.cos, by.sin).view(shape)  # the same numbers in one pass
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns).flatten(-2)
    cos, sin = by.cos.view(shape).to(x.dtype), by.sin.view(shape).to(x.dtype)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


def as_they_are(x: Tensor) -> torch.autocast:
    """A context in which autocast leaves types alone. Norms run in it: kernels add up in float32 anyway, and
    autocast would make their input and output float32 too, in twice the memory and a pass more each way."""
    kind = "cpu" if x.is_meta else x.device.type  # autocast knows no meta device
    return torch.autocast(kind, enabled=False)


class HeadNorm(nn.Module):
    """RMS norm of each head's channels."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        with as_they_are(x):
            return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), EPS)  # of one type: one kernel


class SelfAttention(nn.Module):
    """Multi-head attention along the second axis of `b n g e`; the `g` sequences do not meet.

    So attention along an outer axis (the frames of every patch) needs no transposed copy of its input.
    """

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel: Callable[..., Tensor] | None = None  # `temporal_kernel.attend`, where it is asked for
        self.query_key_value = Linear(width, 3 * width)
        self.query_norm = HeadNorm(width // num_heads)
        self.key_norm = HeadNorm(width // num_heads)
        self.output = Linear(width, width)

    def forward(self, x: Tensor, *, rotation: Rotation | None = None) -> Tensor:
        qkv = self.query_key_value(x).unflatten(-1, (3, self.num_heads, -1))
        if self.kernel is not None and rotation is not None and x.shape[1] <= LONGEST:
            weights = self.query_norm.weight, self.key_norm.weight
            return self.output(self.kernel(qkv, *weights, *rotation, eps=EPS).reshape(x.shape))
        return self.output(attend_over_time(*self._placed(qkv, rotation)).reshape(x.shape))

    def _placed(self, qkv: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normed and turned, and values of `b n g 3 h d`."""
        if query_key.is_faster(qkv):
            turns = None if rotation is None else torch.complex(*rotation)[:, None, None, None]
            weights = self.query_norm.weight, self.key_norm.weight
            return query_key.norm_and_rotate(qkv, *weights, turns, eps=EPS)
        query, key, value = qkv.unbind(-3)  # b n g h d
        query, key = self.query_norm(query), self.key_norm(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return query, key, value


class KeysValues(NamedTuple):
    """Keys and values of a context, as `CrossAttention` reads them."""

    key: Tensor  # b h l d
    value: Tensor  # b h l d


class CrossAttention(nn.Module):
    """Multi-head attention of `b n e` over a context `b l e`."""

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.output = Linear(width, width)

    def keys_values(self, context: Tensor, *, rotation: Rotation | None = None) -> KeysValues:
        """Of a context `b l e`, placed by `rotation`; they serve for as long as the context is the same."""
        key, value = self.key_value(context).unflatten(-1, (2, self.num_heads, -1)).unbind(-3)  # b l h d
        if rotation is not None:
            key = rotate(key, rotation)
        return KeysValues(key.transpose(1, 2), value.transpose(1, 2))

    def forward(
        self,
        x: Tensor,
        context: Tensor | KeysValues,
        *,
        mask: Tensor | None = None,
        rotations: tuple[Rotation, Rotation] | None = None,
    ) -> Tensor:
        """`mask` (bool `b 1 1 l`) marks the tokens to read; `rotations` are those of x and of the context.

        A context may be given as its `keys_values`, which are placed already.
        """
        query = self.query(x).unflatten(-1, (self.num_heads, -1))  # b n h d
        if rotations is not None:
            query = rotate(query, rotations[0])
        if isinstance(context, KeysValues):
            key, value = context
        else:
            key, value = self.keys_values(context, rotation=rotations[1] if rotations else None)
        mixed = attend(query.transpose(1, 2), key, value, mask=mask)  # b h n d
        return self.output(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear maps with a tanh GELU between.

    Args:
        out: width of the result; None: `width`.
    """

    def __init__(self, width: int, *, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.expand = Linear(width, hidden)
        self.contract = Linear(hidden, width if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(linear_gelu(self.expand, x))
