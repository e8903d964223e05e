"""Where backbones lie, and the preprocessing of each; settings of `pipelines/fetch_backbones.py`."""

import os
from pathlib import Path
from typing import Annotated

from syncflow.config import Config, Role
from syncflow.evaluation.extractors.settings import (
    AstSettings,
    ClapSettings,
    I3DSettings,
    ImageBindSettings,
    PannsSettings,
    PasstSettings,
    VGGishishSettings,
    VGGishSettings,
)


def default_folder() -> Path:
    """`SYNCFLOW_BACKBONES`, or a folder in the user's cache."""
    given = os.environ.get("SYNCFLOW_BACKBONES")
    return Path(given) if given else Path.home() / ".cache" / "syncflow" / "backbones"


class FetchConfig(Config):
    """The open backbones that the package index serves."""

    output: Path = default_folder()
    """Folder in which the weights are kept; the environment variable SYNCFLOW_BACKBONES changes the
    default."""


class BackboneConfig(Config):
    """The backbones of an evaluation: their folder, and what of their preprocessing may differ."""

    folder: Annotated[Path, Role.WORK] = default_folder()
    """Folder of the backbones' weights, as pipelines/fetch_backbones.py and pipelines/convert_weights.py
    write them."""
    device: str = "cpu"
    """Device on which the backbones run: cpu, cuda, cuda:1 ..."""
    vggish: VGGishSettings = VGGishSettings()
    """VGGish, whose embedding FAD uses."""
    i3d: I3DSettings = I3DSettings()
    """I3D, whose features FVD uses."""
    panns: PannsSettings = PannsSettings()
    """PANNs Cnn14, which gives probabilities of AudioSet classes."""
    vggishish: VGGishishSettings = VGGishishSettings()
    """VGGish-ish (SpecVQGAN), which gives probabilities of VGGSound classes."""
    passt: PasstSettings = PasstSettings()
    """PaSST, which gives probabilities of AudioSet classes."""
    ast: AstSettings = AstSettings()
    """Audio Spectrogram Transformer, which gives probabilities of AudioSet classes."""
    clap: ClapSettings = ClapSettings()
    """CLAP, which embeds audio and prompts."""
    imagebind: ImageBindSettings = ImageBindSettings()
    """ImageBind, which embeds video, audio and prompts; its licence must be accepted."""
