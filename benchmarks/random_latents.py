"""Write a dataset of random latents in the size of a model, to time training without any clips.

PYTHONPATH=. python benchmarks/random_latents.py --model pipelines/configs/vggsound/model.yaml --output DIR
"""

from pathlib import Path

import numpy as np
from pydantic import Field

from syncflow.command_line import parse_arguments, run
from syncflow.config import Config, read_preset, validate
from syncflow.data.parquet import Weights
from syncflow.data.parquet.finish import finish_dataset
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.records import ClipRef, ClipSpec, EncodedClip, LatentRow, TextEmbedding
from syncflow.text import caption_key


class RandomConfig(Config):
    """What is written."""

    model: Path = Path("pipelines/configs/vggsound/model.yaml")
    """Preset with a `model` group: widths of latents and prompts."""
    output: Path
    """Folder of the dataset; it must not exist."""
    clips: int = Field(default=128, ge=2)
    """Clips of one window; every eighth is in the test split."""
    size: int = 256
    """Rows and columns of a frame, pixels."""
    text_tokens: int = Field(default=300, ge=1)
    """Tokens of a prompt."""


def main() -> None:
    config = parse_arguments(RandomConfig, description=__doc__ or "")
    model = validate(DualDiTConfig, read_preset(config.model)["model"], source=str(config.model))
    draw, side, shape = np.random.default_rng(0), config.size // 8, SampleShape()

    def normal(*sizes: int) -> np.ndarray:
        return draw.standard_normal(sizes, dtype=np.float32).astype(np.float16)

    def clip(number: int) -> EncodedClip:
        video = (model.video.in_channels, shape.video_latents[0], side, side)
        audio = (shape.audio_latents, model.audio.latent_dim)
        caption = f"clip {number}"
        key = caption_key(caption)
        ref = ClipRef(dataset="random", clip_id=f"{number:06}", path=Path(f"/nowhere/{number}.mp4"))
        row = LatentRow(
            dataset=ref.dataset,
            clip_id=ref.clip_id,
            window=0,
            start_s=0.0,
            split="test" if number % 8 == 7 else "train",
            caption=caption,
            caption_key=key,
            caption_source="label",
            source_sha256=f"{number:064x}",
            fingerprint="random",
            scores={},
            video_mean=normal(*video),
            video_logvar=np.full(video, -4, np.float16),
            audio_mean=normal(*audio),
            audio_logvar=np.full(audio, -4, np.float16),
        )
        tokens = normal(config.text_tokens, model.video.text_dim)
        return EncodedClip(
            ref=ref, rows=(row,), texts=(TextEmbedding(key=key, caption=caption, tokens=tokens),)
        )

    writer = DatasetWriter(config.output, recipe="random", owner="", footer={})
    numbers = range(config.clips)
    for start in numbers[::16]:
        writer.commit([clip(number) for number in numbers[start : start + 16]])
    weights = Weights(sha256="0" * 64, location="random")
    finish_dataset(
        config.output,
        recipe="random",
        keys=[("random", f"{number:06}") for number in numbers],
        spec=ClipSpec(height=config.size, width=config.size),
        video_vae=weights,
        audio_vae=weights,
        text_encoder=weights,
        config={},
    )


if __name__ == "__main__":
    run(main)
