"""The video tower: STDiT3 of Open-Sora v1.2, with the features of every layer handed out (Section 3.2)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from syncflow.model.attention import (
    EPS,
    CrossAttention,
    FeedForward,
    KeysValues,
    Rotation,
    SelfAttention,
    as_they_are,
    rotary_frequencies,
    rotation,
)
from syncflow.model.config import FeatureTokens, Tap
from syncflow.model.embeddings import (
    ScalarEmbedding,
    TextEmbedding,
    patch_positions,
    patchify,
    timestep,
    unpatchify,
)
from syncflow.model.text import PreparedText


class VideoOutput(NamedTuple):
    """What the video tower returns."""

    velocity: Tensor  # b c t h w, float32
    features: tuple[Tensor, ...]  # one a layer: b t p e, p features a latent frame


class VideoBlock(nn.Module, ABC):
    """Attention along one axis, text cross-attention, feed-forward; gated and modulated by time."""

    def __init__(self, width: int, *, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.zeros(6, width))
        self.self_attention = SelfAttention(width, num_heads=num_heads)
        self.cross_attention = CrossAttention(width, num_heads=num_heads)
        self.feed_forward = FeedForward(width, hidden=hidden)

    @abstractmethod
    def attend(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Self-attention of `b t s e` along this block's axis."""

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        text: Tensor | KeysValues,
        mask: Tensor | None,
        rotation: Rotation,
    ) -> tuple[Tensor, Tensor]:
        """`x` `b t s e`, `modulation` `b 6 e`, `text` `b l e` -> output, and x after self-attention."""
        table = (self.modulation + modulation).to(x.dtype)  # of another type they would make x theirs
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = table[:, :, None, None].unbind(1)  # b 1 1 e
        x = torch.addcmul(x, gate_a, self.attend(modulated_norm(x, shift_a, scale_a), rotation))
        attended = x
        x = x + self.cross_attention(x.flatten(1, 2), text, mask=mask).view_as(x)
        x = torch.addcmul(x, gate_f, self.feed_forward(modulated_norm(x, shift_f, scale_f)))
        return x, attended


class SpatialBlock(VideoBlock):
    """The patches of a frame attend to each other."""

    def attend(self, x: Tensor, rotation: Rotation) -> Tensor:
        return self.self_attention(x.flatten(0, 1)[:, :, None]).view_as(x)


class TemporalBlock(VideoBlock):
    """Each patch attends to itself in the other frames, with rotary positions."""

    def attend(self, x: Tensor, rotation: Rotation) -> Tensor:
        return self.self_attention(x, rotation=rotation)


class VideoHead(nn.Module):
    """Time-modulated norm and the linear map to a patch of `2c` channels, of which `c` are the velocity."""

    def __init__(self, width: int, *, out: int) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.zeros(2, width))
        self.linear = nn.Linear(width, out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = (self.modulation + time[:, None]).to(x.dtype)[:, :, None, None].unbind(1)
        return self.linear(modulated_norm(x, shift, scale))


class VideoTower(ModelMixin, ConfigMixin):
    """`v_video, F^(1..L) = tower(x_t, t, text)`; weights come from Open-Sora through `open_sora.py`.

    Any resolution, aspect and number of frames. Fields: `VideoTowerConfig`.
    """

    config: Any  # its arguments, as attributes
    _supports_gradient_checkpointing = True
    _repeated_blocks = ["SpatialBlock", "TemporalBlock"]  # noqa: RUF012  (diffusers: compile_repeated_blocks)
    _no_split_modules = ["SpatialBlock", "TemporalBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        *,
        in_channels: int,
        patch_size: tuple[int, int, int],
        hidden_size: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        text_dim: int,
        max_text_tokens: int,
        reference_size: int,
        tap: Tap,
        feature_tokens: FeatureTokens,
        feature_grid: int,
    ) -> None:
        super().__init__()
        width, volume = hidden_size, patch_size[0] * patch_size[1] * patch_size[2]
        hidden = int(width * mlp_ratio)
        self.gradient_checkpointing = False
        self.patch_embedding = nn.Linear(in_channels * volume, width)
        self.time_embedding = ScalarEmbedding(width)
        self.fps_embedding = ScalarEmbedding(width)
        self.time_modulation = nn.Linear(width, 6 * width)
        self.text_embedding = TextEmbedding(text_dim, width, max_tokens=max_text_tokens)
        self.register_buffer("rotary_frequencies", rotary_frequencies(width // num_heads))
        blocks = [(SpatialBlock, TemporalBlock)] * depth
        self.spatial_blocks = nn.ModuleList(s(width, num_heads=num_heads, hidden=hidden) for s, _ in blocks)
        self.temporal_blocks = nn.ModuleList(t(width, num_heads=num_heads, hidden=hidden) for _, t in blocks)
        self.head = VideoHead(width, out=2 * in_channels * volume)
        self.initialize()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "VideoTower":
        """As torch's; but `.to(bfloat16)` and the like leave the rotary frequencies in float32."""
        exact = self.rotary_frequencies
        super()._apply(fn, recurse)
        if self.rotary_frequencies.dtype != exact.dtype:
            self.rotary_frequencies = exact.to(self.rotary_frequencies.device)
        return self

    @torch.no_grad()
    def initialize(self, *, generator: torch.Generator | None = None) -> None:
        """Random weights. Zero at the start, so that a new tower is an image model with velocity 0:

        - temporal blocks: self-attention output, cross-attention output, feed-forward contract;
        - the head's linear map.
        """
        width = self.config.hidden_size
        self.rotary_frequencies.copy_(rotary_frequencies(width // self.config.num_heads))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, (VideoBlock, VideoHead)):
                nn.init.normal_(module.modulation, std=width**-0.5, generator=generator)
            elif isinstance(module, TextEmbedding):
                std = self.config.text_dim**-0.5
                nn.init.normal_(module.null_prompt, std=std, generator=generator)
        embeddings = (self.time_embedding, self.fps_embedding, self.text_embedding.project)
        small = [linear for module in embeddings for linear in (module.expand, module.contract)]
        for linear in (*small, self.time_modulation):
            nn.init.normal_(linear.weight, std=0.02, generator=generator)
        for block in self.temporal_blocks:
            assert isinstance(block, VideoBlock)
            gates = (block.self_attention.output, block.cross_attention.output, block.feed_forward.contract)
            for gate in gates:
                nn.init.zeros_(gate.weight)
        nn.init.zeros_(self.head.linear.weight)

    def prepare_text(self, tokens: Tensor, mask: Tensor, dropped: Tensor) -> PreparedText:
        """The prompts as the blocks read them: they do not depend on time, so once a sample is enough."""
        return PreparedText.of(self.text_embedding(tokens, dropped), mask, dense=not self.training)

    def with_keys_values(self, text: PreparedText) -> PreparedText:
        """`text` with each block's keys and values of it, for calls at many flow times.

        They take `4 depth b l e` numbers: at full size, in bfloat16, 77 MB a prompt of 300 tokens.
        """
        pairs = zip(self.spatial_blocks, self.temporal_blocks, strict=True)
        made = [block.cross_attention.keys_values(text.tokens) for pair in pairs for block in pair]  # type: ignore[union-attr, operator]
        return text._replace(keys_values=tuple(made))

    def forward(
        self, x_t: Tensor, t: Tensor, text: PreparedText, *, fps: float, height: int, width: int
    ) -> VideoOutput:
        """Velocity and features of video latents `b c t h w` at flow times `b` (0 noise, 1 data).

        `fps` is frames a second of the clip; `height` and `width` are its size in pixels.
        """
        x = self._embed_patches(x_t, height=height, width=width)  # b t h' w' e
        grid, x = x.shape[2:4], x.flatten(2, 3)  # b t s e
        time = self.time_embedding(timestep(t))
        time = time + self.fps_embedding(torch.full_like(t, fps, dtype=torch.float32))  # b e
        modulation = self.time_modulation(F.silu(time)).unflatten(-1, (6, -1))
        turn = rotation(torch.arange(x.shape[1], device=x.device), self.rotary_frequencies)
        features = []
        for layer, (spatial, temporal) in enumerate(
            zip(self.spatial_blocks, self.temporal_blocks, strict=True)
        ):
            x, _ = self._run(spatial, x, modulation, text.of_block(2 * layer), text.mask, turn)
            x, attended = self._run(temporal, x, modulation, text.of_block(2 * layer + 1), text.mask, turn)
            features.append(self._features(x if self.config.tap == "block" else attended, grid))
        patches = self.head(x, time).unflatten(2, grid)
        velocity = unpatchify(patches, tuple(self.config.patch_size), tuple(x_t.shape[2:]))  # type: ignore[arg-type]
        return VideoOutput(velocity[:, : x_t.shape[1]].float(), tuple(features))

    def _embed_patches(self, x_t: Tensor, *, height: int, width: int) -> Tensor:
        patches = patchify(x_t.to(self.patch_embedding.weight.dtype), tuple(self.config.patch_size))
        x = self.patch_embedding(patches)  # b t h' w' e
        rows, columns, e = x.shape[2:]
        scale = (height * width) ** 0.5 / self.config.reference_size
        positions = patch_positions(rows, columns, e, scale=scale, device=x.device)
        return x + positions.to(x.dtype).unflatten(0, (rows, columns))

    def _run(self, block: nn.Module, x: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
        """A block's forward, `others` as there; under checkpointing its activations are made again."""
        if self.gradient_checkpointing and torch.is_grad_enabled() and x.requires_grad:
            return self._gradient_checkpointing_func(block, x, *others)  # type: ignore[misc]
        return block(x, *others)

    def _features(self, x: Tensor, grid: torch.Size) -> Tensor:
        match self.config.feature_tokens:
            case "frame":
                return x.mean(dim=2, keepdim=True)  # b t 1 e
            case "grid":
                cells = x.unflatten(2, grid).flatten(0, 1).movedim(-1, 1)  # (b t) e h' w'
                pooled = F.adaptive_avg_pool2d(cells, self.config.feature_grid)
                return pooled.flatten(2).mT.unflatten(0, x.shape[:2])  # b t p e
            case _:
                return x


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """`LN(x) * (1 + scale) + shift`, the norm without weights of its own."""
    with as_they_are(x):
        return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=EPS), 1 + scale)
