"""The dual diffusion transformer: two towers and the adaptors between them (Section 3.2, Figures 1 and 2).

Information flows one way. The video tower runs whole, then the audio tower reads its features; so
stages, ablations and video-to-audio differ in what they call, not in flags inside a block.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from torch import Tensor, nn

from syncflow.model.adaptor import AttentionAdaptor, NoAdaptor, PooledAdaptor, Whitening
from syncflow.model.attention import HeadNorm, Rotation, rotary_frequencies, rotation
from syncflow.model.audio_tower import AudioTower
from syncflow.model.config import DualDiTConfig
from syncflow.model.text import PreparedText
from syncflow.model.video_tower import VideoOutput, VideoTower
from syncflow.records import AVLatents, FrameTimes, TextBatch


class DualText(NamedTuple):
    """The prompts as each tower reads them (`DualDiT.prepare_text`)."""

    video: PreparedText
    audio: PreparedText | None  # None: the audio tower reads no text


class AdaptedFeatures(NamedTuple):
    """What the adaptors make of the features of a clip (`DualDiT.adapt`)."""

    layers: tuple[Tensor, ...]  # b k e, one an audio layer
    positions: Tensor  # k, on the axis of the audio latents


class DualDiT(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """`u(z_t^V, z_t^A, t, s)` of Equation 3. Fields: `DualDiTConfig`, its groups as plain mappings."""

    _supports_gradient_checkpointing = True
    _repeated_blocks = [  # noqa: RUF012
        *("SpatialBlock", "TemporalBlock", "AudioBlock"),
        *("AttentionAdaptor", "PooledAdaptor"),
    ]
    _no_split_modules = ["SpatialBlock", "TemporalBlock", "AudioBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        *,
        video: dict[str, Any],
        audio: dict[str, Any],
        adaptor: dict[str, Any],
    ) -> None:
        super().__init__()
        settings = DualDiTConfig(video=video, audio=audio, adaptor=adaptor)  # type: ignore[arg-type]
        self.settings = settings
        self.gradient_checkpointing = False
        self._known_places: dict[Hashable, tuple[Rotation, Tensor]] = {}
        self.video_tower = VideoTower(**settings.video.model_dump())
        self.adaptors = nn.ModuleList(_adaptor(settings) for _ in range(settings.audio.depth))
        self.audio_tower = AudioTower(**settings.audio.model_dump())

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As diffusers' own, for saved configs of older versions too, which held one clip's `frame_spans`."""
        known = {name: value for name, value in config_dict.items() if name != "frame_spans"}
        return super().extract_init_dict(known, **kwargs)

    @classmethod
    def random(cls, config: DualDiTConfig, *, generator: torch.Generator | None = None) -> "DualDiT":
        """A new model, each weight drawn once: at full size several times faster than constructor and
        `initialize`, with the same weights."""
        with torch.device("meta"):
            model = cls(**config.model_dump())
        model.to_empty(device="cpu")
        model.initialize(generator=generator)
        return model

    @torch.no_grad()
    def initialize(self, *, generator: torch.Generator | None = None) -> None:
        """Random weights for every part; each part's own `initialize` lists what starts at zero.

        It sets every tensor, so it also serves a model whose memory is not filled yet (`random`).
        """
        for module in self.modules():
            if isinstance(module, (nn.LayerNorm, HeadNorm, Whitening)):
                module.reset_parameters()  # type: ignore[operator]
        for part in (self.video_tower, *self.adaptors, self.audio_tower):
            if not isinstance(part, NoAdaptor):
                part.initialize(generator=generator)  # type: ignore[operator]

    def forward(
        self,
        x_t: AVLatents,
        t: Tensor,
        text: TextBatch | DualText,
        *,
        fps: float,
        height: int,
        width: int,
        frame_times: FrameTimes,
    ) -> AVLatents:
        """Velocities (float32) of the modalities that `x_t` has, at flow times `b` (0 noise, 1 data).

        Args:
            text: prompts, or `prepare_text(prompts)` to embed them once for many calls.
            fps: frames a second of the clip; height, width: its size in pixels.
            frame_times: when each video latent frame starts and ends, seconds: the dataset's
                `frame_times`, or the video VAE's `frame_times(spec)`; see `feature_positions`.
        """
        text = self.prepare_text(text)
        video = None
        if x_t.video is not None:
            video = self.video(x_t.video, t, text, fps=fps, height=height, width=width)
        if x_t.audio is None:
            return AVLatents(video=None if video is None else video.velocity, audio=None)
        features = None if video is None else video.features
        audio = self.audio(x_t.audio, t, text, features, frame_times=frame_times)
        return AVLatents(video=None if video is None else video.velocity, audio=audio)

    def video(
        self, z_v: Tensor, t: Tensor, text: TextBatch | DualText, *, fps: float, height: int, width: int
    ) -> VideoOutput:
        """The video tower alone: velocity `b c t h w` and the features of every layer.

        Args:
            z_v: noisy video latents, `b c t h w`.
        """
        prompts = self.prepare_text(text).video
        return self.video_tower(z_v, t, prompts, fps=fps, height=height, width=width)

    def audio(
        self,
        z_a: Tensor,
        t: Tensor,
        text: TextBatch | DualText,
        features: Sequence[Tensor] | None,
        *,
        frame_times: FrameTimes,
    ) -> Tensor:
        """Adaptors and audio tower: velocity `b n d` under the video tower's features.

        The batch of `z_a` and `t` may be a whole multiple K of the features': K draws of audio noise
        for one video forward, the rows of one clip together.

        Raises:
            ValueError: no features, where the audio tower reads them.
        """
        prompts = self.prepare_text(text).audio
        if not self.audio_tower.reads_video:
            return self.audio_tower(z_a, t, video=None, video_positions=None, text=prompts)
        if features is None:
            raise ValueError("features None: this audio tower reads the video; pass those of DualDiT.video")
        heard = self.adapt(features, frame_times=frame_times)
        return self.audio_tower(z_a, t, video=heard.layers, video_positions=heard.positions, text=prompts)

    def adapt(self, features: Sequence[Tensor], *, frame_times: FrameTimes) -> AdaptedFeatures:
        """What the audio layers read beside the audio latents; it does not depend on these.

        Raises:
            ValueError: `frame_times` of another number of latent frames than the features'.
        """
        frames, each = features[0].shape[1:3]
        if len(frame_times) != frames:
            raise ValueError(
                f"frame_times of {len(frame_times)} latent frames, features of {frames}: "
                "pass the video VAE's frame_times of this clip"
            )
        turn, positions = self._places(
            tuple((start, end) for start, end in frame_times), each, features[0].device
        )
        layers = tuple(
            self._adapt(adaptor, layer.flatten(1, 2), turn)
            for adaptor, layer in zip(self.adaptors, features, strict=True)
        )
        return AdaptedFeatures(layers, positions)

    def _adapt(self, adaptor: nn.Module, features: Tensor, turn: Rotation) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled() and self.trains_adaptors:
            return self._gradient_checkpointing_func(adaptor, features, turn)  # type: ignore[misc]
        return adaptor(features, turn)

    @property
    def trains_adaptors(self) -> bool:
        """Whether the adaptors have weights that train."""
        return any(parameter.requires_grad for parameter in self.adaptors.parameters())

    def _places(
        self, frame_times: tuple[tuple[float, float], ...], each: int, device: torch.device
    ) -> tuple[Rotation, Tensor]:
        """Turns of the features, `each` a latent frame, and positions of the tokens made of them.

        They are kept for the next call: to copy them again would wait for all that a GPU still has to do.
        """
        key = frame_times, each, device
        if key not in self._known_places:
            with torch.inference_mode(False), torch.no_grad():
                positions = self.feature_positions(frame_times).to(device, non_blocking=True)
                positions = positions.repeat_interleave(each)
                head_dim = self.settings.video.hidden_size // self.settings.adaptor.num_heads
                turn = rotation(positions, rotary_frequencies(head_dim, device=device))
                count: int = self.adaptors[0].tokens  # type: ignore[assignment]
                parts = self.feature_positions(frame_times, parts=count).to(device, non_blocking=True)
                tokens = parts.unflatten(0, (len(frame_times), 1, -1)).expand(-1, each, -1).flatten()
            self._known_places[key] = turn, tokens
        return self._known_places[key]

    def prepare_text(self, text: TextBatch | DualText, *, keys_values: bool = False) -> DualText:
        """Embed prompts for both towers; a sampler does it once for all steps.

        With `keys_values` the video tower's blocks keep theirs, too (`VideoTower.with_keys_values`); the same
        velocities. What the audio tower reads of a text stands beside the flow time and the video features,
        so its blocks have none to keep.
        """
        if not isinstance(text, DualText):
            parts = (text.tokens, text.mask.bool(), text.dropped.bool())
            audio = self.audio_tower.prepare_text(*parts) if self.audio_tower.reads_text else None
            text = DualText(self.video_tower.prepare_text(*parts), audio)
        if keys_values and text.video.keys_values is None:
            text = text._replace(video=self.video_tower.with_keys_values(text.video))
        return text

    def feature_positions(self, frame_times: FrameTimes, *, parts: int = 1) -> Tensor:
        """Middle of each video latent frame on the axis of the audio latents, float32: seconds times rate.

        With `parts` they are the middles of so many equal parts of each frame, in their order. The axis knows
        nothing of the clip's length: a clip whose end falls within an audio latent is placed as any other.
        """
        shares = [(part + 0.5) / parts for part in range(parts)]
        middles = [start + share * (end - start) for start, end in frame_times for share in shares]
        return torch.tensor([self.settings.audio.latent_rate * middle for middle in middles])


def _adaptor(settings: DualDiTConfig) -> nn.Module:
    if settings.adaptor.kind == "none" or settings.audio.context == "text":
        return NoAdaptor()
    kind = PooledAdaptor if settings.adaptor.kind == "pooled" else AttentionAdaptor
    adaptor = kind(
        settings.video.hidden_size,
        out=settings.audio.hidden_size,
        num_heads=settings.adaptor.num_heads,
        tokens=settings.adaptor.tokens,
        whiten=settings.adaptor.whiten,
    )
    adaptor.initialize()
    return adaptor
