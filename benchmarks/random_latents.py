"""Write a dataset of random latents in the size of a model, to time training without any clips.

    PYTHONPATH=. python benchmarks/random_latents.py --output DIR

`pipelines/train_stage.py --data DIR` trains on it as on any other.
"""

from pathlib import Path

from pydantic import Field

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, validate
from syncflow.data.random_dataset import Sizes, write_dataset
from syncflow.errors import UserError
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.preset import read_preset
from syncflow.records import ClipSpec


class RandomConfig(Config):
    """What is written."""

    model: Path = Path("pipelines/configs/vggsound/model.yaml")
    """Preset with a `model` group: widths of latents and prompts."""
    output: Path
    """Folder of the dataset; it must not exist."""
    clips: int = Field(default=128, ge=5)
    """Clips of one window; every fifth is in the test split."""
    size: int = 256
    """Rows and columns of a frame, pixels."""
    text_tokens: int = Field(default=300, ge=1)
    """Tokens of a prompt; every clip has a prompt of its own."""


def write_random(
    folder: Path, *, clips: int, text_tokens: int, model: DualDiTConfig | None = None, size: int = 256
) -> None:
    """A finished dataset of clips of one window, in shards of 80, each with a prompt of its own."""
    model, shape, side = model or DualDiTConfig(), SampleShape(), size // 8  # the video VAE's stride in space
    sizes = Sizes(
        spec=ClipSpec(height=size, width=size),
        video=(model.video.in_channels, shape.video_latents[0], side, side),
        audio=(shape.audio_latents, model.audio.latent_dim),
        captions=[f"clip {number}" for number in range(clips)],
        text_tokens=[text_tokens],
        text_width=model.video.text_dim,
    )
    write_dataset(folder, clips=clips, sizes=sizes, per_shard=80)


def main() -> None:
    config = parse_arguments(RandomConfig, description=__doc__ or "")
    if config.output.exists():
        raise UserError(f"output {config.output}: exists; give a new folder")
    model = validate(DualDiTConfig, read_preset(config.model)["model"], source=str(config.model))
    tokens = config.text_tokens
    write_random(config.output, clips=config.clips, text_tokens=tokens, model=model, size=config.size)


if __name__ == "__main__":
    run(main)
