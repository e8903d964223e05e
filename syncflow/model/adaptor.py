"""The modality adaptor: video features -> what an audio layer reads (Section 3.2, Figure 2, Table 4)."""

import torch
from torch import Tensor, nn

from syncflow.model.attention import EPS, Rotation, SelfAttention
from syncflow.model.linear import Linear


class AttentionAdaptor(nn.Module):
    """Self-attention over all features of a clip, layer norm, linear.

    The self-attention is residual and starts at zero, so that a new adaptor is a linear map of the
    normed features. Rotary positions are those of the features in time. The linear map makes `tokens` of a
    feature, one for each equal part of the time that it stands for.
    """

    def __init__(self, width: int, *, out: int, num_heads: int, tokens: int = 1) -> None:
        super().__init__()
        self.tokens = tokens
        self.attention = SelfAttention(width, num_heads=num_heads)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.linear = Linear(width, tokens * out)

    @torch.no_grad()
    def initialize(self, *, generator: torch.Generator | None = None) -> None:
        """Random weights; zero at the start: the attention's output."""
        nn.init.xavier_uniform_(self.attention.query_key_value.weight, generator=generator)
        nn.init.xavier_uniform_(self.linear.weight, generator=generator)
        nn.init.zeros_(self.attention.output.weight)
        for linear in (self.attention.query_key_value, self.attention.output, self.linear):
            nn.init.zeros_(linear.bias)

    def forward(self, features: Tensor, rotation: Rotation) -> Tensor:
        """`b k e` at the times of `rotation` (`k`) -> `b (k tokens) e'`."""
        features = features.to(self.linear.weight.dtype)
        attended = self.attention(features[:, :, None], rotation=rotation)[:, :, 0]
        made = self.linear(self.norm(features + attended))
        return made.unflatten(2, (self.tokens, -1)).flatten(1, 2)


class NoAdaptor(nn.Module):
    """The features as they are."""

    tokens = 1

    def forward(self, features: Tensor, rotation: Rotation) -> Tensor:
        return features
