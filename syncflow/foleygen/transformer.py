"""Pre-norm Transformer layers without biases, with an optional cache of keys and values."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(kw_only=True)
class KeyValues:
    """Keys and values `b h s d` of the tokens that a layer has seen, and those of the frames it reads."""

    own: tuple[Tensor, Tensor] | None = None
    frames: tuple[Tensor, Tensor] | None = None

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values so far, those of the new tokens last."""
        if self.own is not None:
            keys = torch.cat([self.own[0], keys], dim=2)
            values = torch.cat([self.own[1], values], dim=2)
        self.own = keys, values
        return self.own


@dataclass(kw_only=True)
class Cache:
    """What generation keeps between steps, a `KeyValues` a layer."""

    layers: list[KeyValues] = field(default_factory=list)

    @classmethod
    def empty(cls, depth: int) -> "Cache":
        return cls(layers=[KeyValues() for _ in range(depth)])


class Attention(nn.Module):
    """Multi-head attention; of tokens to themselves, or to a context.

    Args:
        hidden_size: width of tokens and context.
        num_heads: heads.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Of tokens `b s e`: keys and values `b h s d` each."""
        keys, values = self.key_value(context).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Tokens `b q e` that attend where `mask` (bool `q s`) says.

        Args:
            keys: cached keys, `b h s e`.
            values: cached values, `b h s e`.
        """
        found = F.scaled_dot_product_attention(
            self._heads(self.query(tokens)), keys, values, attn_mask=mask.to(tokens.device)
        )
        return self.out(found.transpose(1, 2).flatten(2))  # b h q d -> b q e

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # b s e -> b h s d


class Layer(nn.Module):
    """Self-attention, cross-attention where the layer reads frames, and a feed-forward part.

    Args:
        reads_frames: whether the layer has cross-attention to visual features.
    """

    def __init__(
        self, *, hidden_size: int, num_heads: int, mlp_ratio: int, dropout: float, reads_frames: bool
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size, bias=False)
        self.attention = Attention(hidden_size, num_heads)
        self.frames_norm = nn.LayerNorm(hidden_size, bias=False) if reads_frames else None
        self.frames_attention = Attention(hidden_size, num_heads) if reads_frames else None
        self.mlp_norm = nn.LayerNorm(hidden_size, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, mlp_ratio * hidden_size, bias=False),
            nn.GELU(),
            nn.Linear(mlp_ratio * hidden_size, hidden_size, bias=False),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        *,
        mask: Tensor,
        frames: Tensor | None = None,
        frames_mask: Tensor | None = None,
        cache: KeyValues | None = None,
    ) -> Tensor:
        """Tokens `b q e`.

        Args:
            mask: bool `q s`, to all tokens so far.
            frames: `b f e`, for layers that read them.
            frames_mask: bool `q f`.
            cache: of the tokens so far; the new ones are added to it.
        """
        kept = KeyValues() if cache is None else cache
        normed = self.attention_norm(tokens)
        keys, values = kept.extended(*self.attention.keys_values(normed))
        tokens = tokens + self.dropout(self.attention(normed, keys, values, mask))
        if self.frames_attention is not None:
            assert self.frames_norm is not None and frames is not None and frames_mask is not None
            if kept.frames is None:
                kept.frames = self.frames_attention.keys_values(frames)
            found = self.frames_attention(self.frames_norm(tokens), *kept.frames, frames_mask)
            tokens = tokens + self.dropout(found)
        return tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))
