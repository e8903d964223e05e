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
    """Folder that the files are kept in; SYNCFLOW_BACKBONES changes the default."""


class BackboneConfig(Config):
    """The backbones of an evaluation: their folder, and what of their preprocessing may differ."""

    folder: Annotated[Path, Role.WORK] = default_folder()
    """Folder of the weights, as pipelines/fetch_backbones.py and pipelines/convert_weights.py write them."""
    device: str = "cpu"
    """Device that they run on, as cpu or cuda."""
    vggish: VGGishSettings = VGGishSettings()
    """FAD's embedding."""
    i3d: I3DSettings = I3DSettings()
    """FVD's features."""
    panns: PannsSettings = PannsSettings()
    """AudioSet classes of Cnn14."""
    vggishish: VGGishishSettings = VGGishishSettings()
    """VGGSound classes."""
    passt: PasstSettings = PasstSettings()
    """AudioSet classes of PaSST."""
    ast: AstSettings = AstSettings()
    """AudioSet classes of AST."""
    clap: ClapSettings = ClapSettings()
    """Sound and prompt."""
    imagebind: ImageBindSettings = ImageBindSettings()
    """Video, sound and prompt; under a licence that must be accepted."""
