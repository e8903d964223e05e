"""Preprocessing of each backbone in which published codes differ; without torch, for command lines."""

from typing import Literal

from syncflow.config import Config

Resampler = Literal["sinc", "polyphase"]
"""`sinc`: torchaudio's default (Hann window, width 6, rolloff 0.99); `polyphase`: scipy's Kaiser filter."""
I3DCheckpoint = Literal["i3d_pretrained_400", "rgb_imagenet", "i3d_torchscript"]
PannsVariant = Literal["Cnn14_16k", "Cnn14_32k"]
ClapCheckpoint = Literal[
    "clap-htsat-unfused",
    "clap-htsat-fused",
    "630k-audioset-fusion-best",
    "music_speech_audioset_epoch_15_esc_89.98",
]


class VGGishSettings(Config):
    """Preprocessing in which the codes that compute FAD differ."""

    resampler: Resampler = "sinc"
    """Kernel that resamples audio to VGGish's 16 kHz."""
    remove_dc: bool = True
    """Whether the mean of the waveform is subtracted first (audioldm_eval and av-benchmark do)."""
    pad_to_s: float = 0.0
    """Length to which shorter audio is padded with zeros, seconds (audioldm_eval: 2.0); 0 pads nothing."""


class I3DSettings(Config):
    """Which I3D, and how frames reach its 224 x 224 pixels."""

    checkpoint: I3DCheckpoint = "i3d_pretrained_400"
    """Family of the I3D weights; each implies its own epsilon of batch norm. `i3d_torchscript` (StyleGAN-V)
    is a file that carries its own code."""
    script_sha256: str = ""
    """With `checkpoint: i3d_torchscript`: the file's sha256, which says that you trust its code."""
    resize: Literal["short_side", "squeeze"] = "short_side"
    """`short_side`: short side to 224 pixels and a centre crop (StyleGAN-V, VideoGPT); `squeeze`: both sides
    to 224 (cd-fvd)."""


class PannsSettings(Config):
    """Which Cnn14, and how the sound reaches it."""

    variant: PannsVariant = "Cnn14_16k"
    """Variant of Cnn14: 16 kHz (AudioLDM's KL) or 32 kHz."""
    resampler: Resampler = "sinc"
    """Kernel that resamples audio to the rate of `variant`."""


class VGGishishSettings(Config):
    """How the sound reaches 22.05 kHz and 10 s."""

    resampler: Resampler = "sinc"
    """Kernel that resamples audio to 22.05 kHz."""


class PasstSettings(Config):
    """How the sound reaches the patches."""

    resampler: Resampler = "sinc"
    """Kernel that resamples audio to 32 kHz."""
    pad_to_s: float = 0.0
    """Length to which shorter audio is padded with zeros, seconds; audiocraft pads nothing (0), many scripts
    pad to 10."""


class AstSettings(Config):
    """How the sound reaches 16 kHz."""

    resampler: Resampler = "sinc"
    """Kernel that resamples audio to AST's 16 kHz."""


class ClapSettings(Config):
    """Which CLAP, and how the sound reaches it."""

    checkpoint: ClapCheckpoint = "clap-htsat-unfused"
    """CLAP weights. The paper does not name its own; scores of different ones do not compare."""
    resampler: Resampler = "sinc"
    """Kernel that resamples audio to 48 kHz."""
    round_to_int16: bool = False
    """Whether samples are rounded to 16 bits first, as laion_clap does with files."""


class ImageBindSettings(Config):
    """Whether its licence is accepted, and how clips reach it."""

    accept_noncommercial_licence: bool = False
    """Confirms that you use the weights under CC BY-NC-SA 4.0, which forbids commercial use."""
    resampler: Resampler = "sinc"
    """Kernel that resamples audio to ImageBind's 16 kHz."""
