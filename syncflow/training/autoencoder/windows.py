"""What is decoded of the clips that an autoencoder trains on, and of those held out."""

from syncflow.data.windows.decode import Windows
from syncflow.training.autoencoder.config import AutoencoderTrainConfig


def training_windows(config: AutoencoderTrainConfig, *, held_out: bool = False) -> Windows:
    """What is decoded of the training clips, or of those held out."""
    return Windows(
        folder=config.held_out if held_out else config.clips,
        kind=config.kind,
        spec=config.clip,
        per_clip=config.windows_per_clip,
        cache=config.output / "cache",
    )
