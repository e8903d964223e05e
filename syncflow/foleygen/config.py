"""Settings of FoleyGen: codec, visual encoder, sizes, sampling; the defaults are the large model.

Depth, width and sampling of the original are not public: those are of AudioGen's medium-small configuration
in the same authors' codebase.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from syncflow.config import Config, Role
from syncflow.places import Place


class CodecConfig(Config):
    """Which codec makes the codes."""

    kind: Literal["encodec", "audio_vae"] = "encodec"
    """`encodec`: an EncodecModel of transformers; `audio_vae`: the audio VAE that encoded the dataset, with
    a residual vector quantiser that is fitted to the dataset's latents."""
    location: Annotated[Place, Role.WORK] = ""
    """Folder or hub id of the model (`encodec`: mono, without normalisation). Empty: facebook/encodec_32khz
    for `encodec`, the dataset's own for `audio_vae`."""
    num_codebooks: int = Field(default=4, ge=1)
    """Codebooks that are used: the first ones of `encodec`, or as many as are fitted."""
    codebook_size: int = Field(default=256, ge=2)
    """`audio_vae`: entries of a codebook (an EnCodec has its own number)."""
    fit_latents: int = Field(default=50_000, ge=1)
    """`audio_vae`: latents that the quantiser is fitted to."""
    seed: int = 0
    """`audio_vae`: seed of the fit of the quantiser."""


class VisualConfig(Config):
    """Which encoder looks at the frames."""

    kind: Literal["clip", "efficientnet", "video_vae"] = "clip"
    """`clip`: a CLIP vision model of transformers; `efficientnet`: EfficientNet-Lite0 (fetch_backbones.py);
    `video_vae`: the 2-D part of the video VAE that encoded the dataset, which needs no other weights."""
    location: Annotated[Place, Role.WORK] = ""
    """Folder or hub id of the CLIP model or the video VAE; folder of the backbones for `efficientnet`. Empty:
    openai/clip-vit-base-patch32, the dataset's own video VAE, or the folder that fetch_backbones.py fills."""
    every: int = Field(default=1, ge=1)
    """Features are made of every so many frames; 1 takes all frames."""
    batch: Annotated[int, Role.ROUNDING] = Field(default=32, ge=1)
    """Frames whose features are computed at once."""


class FoleyGenSizes(Config):
    """A decoder-only Transformer over the codes of a neural audio codec: its own sizes."""

    version: Literal["prefix", "cross"] = "prefix"
    """How frames condition the audio: `prefix`, their tokens stand before those of the audio (version P);
    `cross`, each layer attends to them by cross-attention (version C)."""
    visual_attention: Literal["all", "causal", "frame"] = "all"
    """Which frames an audio token attends to: `all`; `causal`, those up to its own time; `frame`, the one at
    its own time."""
    hidden_size: int = Field(default=1024, ge=2)
    """Width of the Transformer."""
    depth: int = Field(default=24, ge=1)
    """Number of Transformer layers."""
    num_heads: int = Field(default=16, ge=1)
    """Attention heads per Transformer layer."""
    mlp_ratio: int = Field(default=4, ge=1)
    """Width of the feed-forward layers, in multiples of `hidden_size`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after attention and feed-forward layers."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size}: expected a multiple of 2 x num_heads ({2 * self.num_heads})"
            )
        return self


class FoleyGenConfig(FoleyGenSizes):
    """The whole model."""

    num_codebooks: int = Field(default=4, ge=1)
    """Codebooks of the codec that are modelled."""
    codebook_size: int = Field(default=2048, ge=2)
    """Entries of a codebook."""
    code_rate: float = Field(default=50.0, gt=0)
    """Codes a second of each codebook, Hz."""
    feature_dim: int = Field(default=512, ge=1)
    """Width of a frame's features."""
    feature_rate: float = Field(default=16.0, gt=0)
    """Frames a second that have features, Hz."""


class CodeSamplingConfig(Config):
    """How codes are drawn."""

    guidance: float = Field(default=3.0, ge=0)
    """Classifier-free guidance scale; 1 is the conditional distribution, in half the time."""
    top_k: int = Field(default=250, ge=0)
    """Codes are drawn among the so many most probable ones; 0: among all."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits; below 1 the draws are less varied."""
    cache: Annotated[bool, Role.ROUNDING] = True
    """Keep keys and values of earlier tokens instead of computing them again at every step."""
