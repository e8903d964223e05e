"""Write a dataset of random latents in the size of a model, to time training without any clips.

    PYTHONPATH=. python benchmarks/random_latents.py --output DIR

`pipelines/train_stage.py --data DIR` trains on it as on any other.
"""

from pathlib import Path

from pydantic import Field

from syncflow.command_line import parse_arguments, run
from syncflow.config import Config, validate
from syncflow.errors import UserError
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.preset import read_preset
from syncflow.records import ClipSpec
from tests.syncflow.training.small import Sizes, write_dataset


class RandomConfig(Config):
    """What is written."""

    model: Path = Path("pipelines/configs/vggsound/model.yaml")
    """Preset with a `model` group: widths of latents and prompts."""
    output: Path
    """Folder of the dataset; it must not exist."""
    clips: int = Field(default=128, ge=5)
    """Clips of one window, held in memory until they are written; every fifth is in the test split."""
    size: int = 256
    """Rows and columns of a frame, pixels."""
    text_tokens: int = Field(default=300, ge=1)
    """Tokens of a prompt; every clip has a prompt of its own."""


def main() -> None:
    config = parse_arguments(RandomConfig, description=__doc__ or "")
    if config.output.exists():
        raise UserError(f"output {config.output}: exists; give a new folder")
    model = validate(DualDiTConfig, read_preset(config.model)["model"], source=str(config.model))
    side, shape = config.size // 8, SampleShape()  # the video VAE's stride in space
    sizes = Sizes(
        spec=ClipSpec(height=config.size, width=config.size),
        video=(model.video.in_channels, shape.video_latents[0], side, side),
        audio=(shape.audio_latents, model.audio.latent_dim),
        captions=[f"clip {number}" for number in range(config.clips)],
        text_tokens=[config.text_tokens],
        text_width=model.video.text_dim,
    )
    write_dataset(config.output, clips=config.clips, sizes=sizes)


if __name__ == "__main__":
    run(main)
