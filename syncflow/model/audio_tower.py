"""The audio tower: transformer layers after AudioBox over a context a layer (Section 3.2, Figure 2)."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from syncflow.model.attention import (
    EPS,
    CrossAttention,
    FeedForward,
    Rotation,
    SelfAttention,
    rotary_frequencies,
    rotation,
)
from syncflow.model.config import AudioContext
from syncflow.model.embeddings import ScalarEmbedding, TextEmbedding, timestep
from syncflow.model.text import PreparedText


class NormOfOutput(nn.Module):
    """`x + LN(update)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return x + self.norm(update)


class NormOfResidual(nn.Module):
    """`LN(x + update)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return self.norm(x + update)


SPAN_S = 2.0  # of the lags that `own_time` tells apart

JOINS = {"output": NormOfOutput, "residual": NormOfResidual}


class AudioBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward, a layer norm after each.

    Args:
        join: how a part's output joins the tokens: `NormOfOutput` or `NormOfResidual`.
    """

    def __init__(self, width: int, *, num_heads: int, hidden: int, join: type[nn.Module]) -> None:
        super().__init__()
        self.self_attention = SelfAttention(width, num_heads=num_heads)
        self.cross_attention = CrossAttention(width, num_heads=num_heads)
        self.feed_forward = FeedForward(width, hidden=hidden)
        self.join_self, self.join_cross, self.join_feed = (join(width) for _ in range(3))

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor | None, rotations: tuple[Rotation, Rotation]
    ) -> Tensor:
        """`x` `b n e` over `context` `b l e`; `rotations` place both in time."""
        x = self.join_self(x, self.self_attention(x[:, :, None], rotation=rotations[0])[:, :, 0])
        x = self.join_cross(x, self.cross_attention(x, context, mask=mask, rotations=rotations))
        return self.join_feed(x, self.feed_forward(x))


class AudioTower(ModelMixin, ConfigMixin):
    """`v_audio = tower(x_t, t, context)`. Fields: `AudioTowerConfig`.

    Positions are rotary and in time: one unit is one audio latent (20 ms at 50 Hz), and a video
    feature stands at the middle of the pixel frames it covers. Queries and keys turn by their own
    times, so attention sees how long before or after the audio a frame is, whatever the clip's
    length. The flow time and the text have no time of their own and stay unturned; half of the
    frequencies turn by less than a radian in 2 s, and through those they are read from anywhere.
    """

    config: Any  # its arguments, as attributes
    _supports_gradient_checkpointing = True
    _repeated_blocks = ["AudioBlock"]  # noqa: RUF012  (diffusers: compile_repeated_blocks)
    _no_split_modules = ["AudioBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        *,
        latent_dim: int,
        latent_rate: float,
        hidden_size: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        norm: Literal["output", "residual"],
        first_gain: float,
        context: AudioContext,
        own_time: float,
        text_dim: int,
        max_text_tokens: int,
    ) -> None:
        super().__init__()
        width, hidden, join = hidden_size, int(hidden_size * mlp_ratio), JOINS[norm]
        self.gradient_checkpointing = False
        self.latent_embedding = nn.Linear(latent_dim, width)
        self.time_embedding = ScalarEmbedding(width)
        if context != "video":
            self.text_embedding = TextEmbedding(text_dim, width, max_tokens=max_text_tokens)
        self.blocks = nn.ModuleList(
            AudioBlock(width, num_heads=num_heads, hidden=hidden, join=join) for _ in range(depth)
        )
        self.head_norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, latent_dim)
        self.initialize()

    @torch.no_grad()
    def initialize(self, *, generator: torch.Generator | None = None) -> None:
        """Random weights. Zero at the start: the head, so that a new tower's velocity is 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, TextEmbedding):
                std = self.config.text_dim**-0.5
                nn.init.normal_(module.null_prompt, std=std, generator=generator)
            elif isinstance(module, NormOfOutput):
                nn.init.constant_(module.norm.weight, self.config.first_gain)
        for linear in (self.time_embedding.expand, self.time_embedding.contract):
            nn.init.normal_(linear.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.head.weight)
        if self.reads_video:
            for block in self.blocks:
                self._look_at_own_time(block.cross_attention)  # type: ignore[union-attr]

    def _look_at_own_time(self, attention: CrossAttention) -> None:
        """Biases of query and key that agree: turned by their times, their product is largest at no lag.

        The logit is `own_time * mean(cos(frequency * lag))` over the frequencies of periods up to `SPAN_S`.
        """
        config, heads = self.config, attention.num_heads
        head_dim = config.hidden_size // heads
        cpu = torch.device("cpu")  # weights may be on `meta` while a saved model is read
        chosen = rotary_frequencies(head_dim, device=cpu) * config.latent_rate >= 2 * math.pi / SPAN_S
        pattern = torch.zeros(heads, head_dim // 2, 2, device=cpu)
        size = math.sqrt(config.own_time * math.sqrt(head_dim) / int(chosen.sum()))
        pattern[: heads // 2, :, 0] = size * chosen
        attention.query.bias.copy_(pattern.flatten())
        attention.key_value.bias[: config.hidden_size].copy_(pattern.flatten())

    @property
    def reads_video(self) -> bool:
        return self.config.context != "text"

    @property
    def reads_text(self) -> bool:
        return self.config.context != "video"

    def prepare_text(self, tokens: Tensor, mask: Tensor, dropped: Tensor) -> PreparedText:
        """The prompts as the blocks read them; only for a tower that reads text."""
        return PreparedText.of(self.text_embedding(tokens, dropped), mask, dense=not self.training)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        *,
        video: Sequence[Tensor] | None,
        video_positions: Tensor | None,
        text: PreparedText | None,
    ) -> Tensor:
        """Velocity of audio latents `b n d` at flow times `b` (0 noise, 1 data); float32 `b n d`.

        `video` is one `b k e` a layer, at `video_positions` (`k`, in audio latents); `text` is this
        tower's own. The batch may be a whole multiple of theirs: rows that share a clip lie together.
        """
        x = self.latent_embedding(x_t.to(self.latent_embedding.weight.dtype))  # b n e
        timeless, mask = self._timeless(t, text)
        rotations = self._rotations(x, video_positions, timeless.shape[1])
        if mask is not None and video is not None:
            mask = F.pad(mask, (rotations[1].cos.shape[0] - timeless.shape[1], 0), value=True)
        for layer, block in enumerate(self.blocks):
            context = timeless if video is None else torch.cat((_rows(video[layer], x), timeless), dim=1)
            if self.gradient_checkpointing and torch.is_grad_enabled() and x.requires_grad:
                x = self._gradient_checkpointing_func(block, x, context, mask, rotations)  # type: ignore[misc]
            else:
                x = block(x, context, mask, rotations)
        return self.head(self.head_norm(x)).float()

    def _timeless(self, t: Tensor, text: PreparedText | None) -> tuple[Tensor, Tensor | None]:
        """The flow time's token and after it the text's, `b k e`; and their mask, where one is needed."""
        time = self.time_embedding(timestep(t))[:, None]  # b 1 e
        if text is None:
            return time, None
        mask = None if text.mask is None else F.pad(_rows(text.mask, time), (1, 0), value=True)
        return torch.cat((time, _rows(text.tokens, time)), dim=1), mask

    def _rotations(self, x: Tensor, video: Tensor | None, timeless: int) -> tuple[Rotation, Rotation]:
        """Turns of the audio latents `b n e` (at their middles), and of the context."""
        head_dim = self.config.hidden_size // self.config.num_heads
        frequencies = rotary_frequencies(head_dim, device=x.device)
        positions = torch.arange(x.shape[1], device=x.device) + 0.5
        still = positions.new_zeros(timeless)
        context = still if video is None else torch.cat((video.to(positions), still))
        return rotation(positions, frequencies), rotation(context, frequencies)


def _rows(shared: Tensor, like: Tensor) -> Tensor:
    """`shared` with each row repeated to the batch of `like`."""
    repeats, rest = divmod(like.shape[0], shared.shape[0])
    if rest:
        raise ValueError(
            f"audio batch {like.shape[0]}: expected a multiple of the context's {shared.shape[0]}; "
            "give every clip as many audio draws"
        )
    return shared if repeats == 1 else shared.repeat_interleave(repeats, dim=0)
