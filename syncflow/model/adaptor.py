"""The modality adaptor: video features -> what an audio layer reads (Section 3.2, Figure 2, Table 4)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from syncflow.model.attention import EPS, Rotation, SelfAttention, as_they_are
from syncflow.model.linear import Linear


class Whitening(nn.Module):
    """Features without mean and of equal variance in every direction; as they are, until it is measured.

    Its buffers are no weights: nothing trains them. They and the product stay in float32, because rounding
    in the widest directions would drown the narrowest.
    """

    SMALLEST = 1e-4  # variance, of the largest: directions below are not widened further

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(width))
        self.register_buffer("matrix", torch.empty(width, width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Back to what changes nothing."""
        nn.init.zeros_(self.mean)
        nn.init.eye_(self.matrix)

    @classmethod
    def of(cls, mean: Tensor, second_moment: Tensor) -> "Whitening":
        """Of features with this mean `e` and mean outer product `e e`."""
        made = cls(len(mean)).to(mean.device)
        variances, directions = torch.linalg.eigh(second_moment - torch.outer(mean, mean))
        scale = variances.clamp_min(cls.SMALLEST * variances.max()).rsqrt()
        made.mean.copy_(mean)
        made.matrix.copy_(directions * scale @ directions.mT)
        return made

    def forward(self, features: Tensor) -> Tensor:
        with as_they_are(features):
            return (features.float() - self.mean) @ self.matrix

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Whitening":
        """As torch's; but `.to(bfloat16)` and the like leave the numbers in float32."""
        mean, matrix = self.mean, self.matrix
        super()._apply(fn, recurse)
        if self.matrix.dtype != matrix.dtype:
            self.mean, self.matrix = mean.to(self.mean.device), matrix.to(self.matrix.device)
        return self


class AttentionAdaptor(nn.Module):
    """Self-attention over all features of a clip, layer norm, linear; before them a whitening, if asked for.

    The self-attention is residual and starts at zero, so that a new adaptor is a linear map of the
    normed features. Rotary positions are those of the features in time. The linear map makes `tokens` of a
    feature, one for each equal part of the time that it stands for.

    Args:
        out: width of the context that the audio tower reads.
    """

    def __init__(
        self, width: int, *, out: int, num_heads: int, tokens: int = 1, whiten: bool = False
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.whiten = Whitening(width) if whiten else nn.Identity()
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
        features = self.whiten(features).to(self.linear.weight.dtype)
        attended = self.attention(features[:, :, None], rotation=rotation)[:, :, 0]
        made = self.linear(self.norm(features + attended))
        return made.unflatten(2, (self.tokens, -1)).flatten(1, 2)


class PooledAdaptor(AttentionAdaptor):
    """One vector a clip and layer, the mean over time, in the place of every feature.

    What conditioning on a contrastive encoder's one embedding leaves of a video (CoDi): all that is in it but
    when things happen.
    """

    def forward(self, features: Tensor, rotation: Rotation) -> Tensor:
        """`b k e` -> `b (k tokens) e'`, all tokens of a clip the same."""
        made = super().forward(features, rotation)
        return made.mean(dim=1, keepdim=True).expand_as(made)


class NoAdaptor(nn.Module):
    """The features as they are."""

    tokens = 1

    def forward(self, features: Tensor, rotation: Rotation) -> Tensor:
        return features
