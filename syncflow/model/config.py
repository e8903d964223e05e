"""Settings of the dual diffusion transformer; defaults are the paper's (Section 3.2), at Open-Sora's width.

Nothing here imports torch: a pipeline rejects a wrong key before it loads anything heavy.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from syncflow.config import Config
from syncflow.records import FrameTimes

Part = Literal["video_tower", "adaptors", "audio_tower"]
PARTS: tuple[Part, ...] = ("video_tower", "adaptors", "audio_tower")  # of the dual DiT
Tap = Literal["block", "attention"]
FeatureTokens = Literal["frame", "grid", "spatial"]
AudioContext = Literal["video", "text", "video_and_text"]


def _check_heads(part: str, hidden_size: int, num_heads: int) -> None:
    if hidden_size % num_heads or (hidden_size // num_heads) % 2:
        raise ValueError(
            f"{part} hidden_size {hidden_size} with {num_heads} heads: each head needs an even whole width"
        )


class VideoTowerConfig(Config):
    """STDiT3-XL/2 of Open-Sora v1.2; what the paper leaves open is `tap` and `feature_tokens`."""

    in_channels: int = 4
    """Channels of the video latents that the video tower reads."""
    patch_size: tuple[int, int, int] = (1, 2, 2)
    """Latent frames, rows and columns that make one token."""
    hidden_size: int = 1152
    """Width of the video tower's tokens (the paper's 1142 is not divisible by its 16 heads)."""
    depth: int = 28
    """Layers; each is a spatial block, then a temporal one."""
    num_heads: int = 16
    """Attention heads of the video tower."""
    mlp_ratio: float = 4.0
    """Width of the video tower's feed-forward layers, in multiples of `hidden_size`."""
    text_dim: int = 4096
    """Width of the text encoder's tokens."""
    max_text_tokens: int = 300
    """Longest prompt that the video tower reads, and length of its null prompt, tokens."""
    reference_size: int = 512
    """Side of the square whose positions are not rescaled, pixels."""
    tap: Tap = "block"
    """Where a layer's features leave: `block` after the whole temporal block, `attention` after its
    self-attention. The paper puts the text cross-attention inside the "temporal attention layer"
    whose output it takes, so the layer is the block."""
    feature_tokens: FeatureTokens = "frame"
    """Features per latent frame: its mean (`frame`), `feature_grid` squared (`grid`), or all tokens
    (`spatial`). Stage 2 costs 4.9 TFLOP per sample with `frame`, 9.8 with `spatial`."""
    feature_grid: int = 4
    """Side of the grid of `feature_tokens: grid`, tokens."""

    @model_validator(mode="after")
    def _check(self) -> "VideoTowerConfig":
        _check_heads("video", self.hidden_size, self.num_heads)
        if self.hidden_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size}: two-axis positions need a multiple of 4")
        return self


class AudioTowerConfig(Config):
    """Audio tower after AudioBox: as deep as the video tower, 16 heads."""

    latent_dim: int = 128
    """Width of the audio latents that the audio tower reads."""
    latent_rate: float = 50.0
    """Audio latents per second, Hz."""
    hidden_size: int = 1152
    """Width of the audio tower's tokens."""
    depth: int = 28
    """Number of layers; layer i reads the features of layer i of the video tower."""
    num_heads: int = 16
    """Attention heads of the audio tower."""
    mlp_ratio: float = 4.0
    """Width of the audio tower's feed-forward layers, in multiples of `hidden_size`."""
    norm: Literal["output", "residual"] = "output"
    """Layer norm after each transformation: of what it returns, `x + LN(f(x))`, or of the sum,
    `LN(x + f(x))`, which needs a careful warm-up at this depth."""
    first_gain: float = Field(default=0.1, ge=0)
    """First gain of the norms, with `norm: output`: how much each transformation adds at the start of
    training, in units of the deviation that a norm gives. It sets first weights alone."""
    context: AudioContext = "video"
    """What cross-attention reads beside the flow time: the video features (the paper), the text alone
    (its text-to-audio ablation), or both."""
    own_time: float = Field(default=0.0, ge=0)
    """How much more, at the start of training, half of the cross-attention heads attend to a feature of their
    own instant than to one far away, as a difference of logits; 0: equally. It sets first weights alone."""
    text_dim: int = 4096
    """Width of the text encoder's tokens (used when the context has text)."""
    max_text_tokens: int = 300
    """Longest prompt, tokens (used when the context has text)."""

    @model_validator(mode="after")
    def _check(self) -> "AudioTowerConfig":
        _check_heads("audio", self.hidden_size, self.num_heads)
        return self


class AdaptorConfig(Config):
    """Modality adaptor between a video layer and its audio layer."""

    kind: Literal["attention", "none", "pooled"] = "attention"
    """`attention`: self-attention, layer norm, linear; `none`: the features as they are (Table 4); `pooled`:
    as `attention`, then the mean over time: one vector a clip, as systems with a contrastive encoder have."""
    num_heads: int = 16
    """Attention heads of the adaptor."""
    tokens: int = Field(default=1, ge=1)
    """Tokens per feature, each at its own part of the span of its latent frame. One stands at the middle; 4
    can say in which of the 4 video frames something happens."""
    whiten: bool = False
    """Whether features are whitened first: zero mean and equal variance in every direction, measured on
    training samples before the first step of stage audio. Audio then learns the timing of the video several
    times sooner."""

    @model_validator(mode="after")
    def _check(self) -> "AdaptorConfig":
        if self.kind == "none" and self.tokens > 1:
            raise ValueError(
                f"adaptor.tokens {self.tokens} with kind none: features go in as they are; set 1"
            )
        if self.kind == "none" and self.whiten:
            raise ValueError("adaptor.whiten with kind none: features go in as they are; set it to false")
        return self


class DualDiTConfig(Config):
    """Both towers and the adaptors between them."""

    video: VideoTowerConfig = VideoTowerConfig()
    """Sizes and choices of the video tower."""
    audio: AudioTowerConfig = AudioTowerConfig()
    """Sizes and choices of the audio tower."""
    adaptor: AdaptorConfig = AdaptorConfig()
    """The modality adaptors, one per layer."""

    @model_validator(mode="before")
    @classmethod
    def _without_spans(cls, values: Any) -> Any:
        """Settings of older versions held the frame spans of one clip; they are the video VAE's own now."""
        if isinstance(values, dict) and "frame_spans" in values:
            return {name: value for name, value in values.items() if name != "frame_spans"}
        return values

    @model_validator(mode="after")
    def _check(self) -> "DualDiTConfig":
        if self.video.depth != self.audio.depth:
            raise ValueError(
                f"video.depth {self.video.depth} and audio.depth {self.audio.depth}: "
                "each audio layer listens to its video layer, so set them equal"
            )
        if self.adaptor.kind == "none" and self.video.hidden_size != self.audio.hidden_size:
            raise ValueError(
                f"adaptor.kind none with widths {self.video.hidden_size} and {self.audio.hidden_size}: "
                "features go in as they are, so set video.hidden_size and audio.hidden_size equal"
            )
        if self.adaptor.kind != "none":
            _check_heads("adaptor (video)", self.video.hidden_size, self.adaptor.num_heads)
        return self


class SampleShape(Config):
    """Sizes of one training sample as the model sees it; the autoencoders' `latent_shape` gives them."""

    video_latents: tuple[int, int, int] = (9, 32, 32)
    """Latent frames, rows and columns of the sample."""
    audio_latents: int = 100
    """Audio latents of the sample."""
    text_tokens: int = 300
    """Tokens of the sample's prompt."""
    fps: float = 16.0
    """Frames per second of the sample's video."""
    height: int = 256
    """Rows of the sample's frames, pixels."""
    width: int = 256
    """Columns of the sample's frames, pixels."""

    @property
    def frame_times(self) -> FrameTimes:
        """Of so many latent frames, a second each: costs and times of a model do not depend on where they
        stand, results do (a video VAE's `frame_times` says it)."""
        return tuple((frame, frame + 1) for frame in range(self.video_latents[0]))


class InspectConfig(Config):
    """What `pipelines/inspect_model.py` counts."""

    model: DualDiTConfig = DualDiTConfig()
    """The model whose parameters, shapes and cost are shown."""
    sample: SampleShape = SampleShape()
    """Shape of the sample whose cost is counted."""
    workers: int = 8
    """Workers that share the optimiser's states under ZeRO."""
    sampling_steps: int = 50
    """Sampling steps with classifier-free guidance whose cost is shown (two model calls each)."""
