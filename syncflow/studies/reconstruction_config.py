"""Settings of `pipelines/reconstruct.py`."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from syncflow.config import Config
from syncflow.places import Place
from syncflow.records import ClipSpec


class ReconstructionConfig(Config):
    """What autoencoders keep of folders of files: frames, audio, and the instants of onsets."""

    clips: tuple[Path, ...]
    """Folders of clips (or of wav and flac files, for the audio VAE alone)."""
    output: Path
    """Folder for video.csv, audio.csv, summary.md, images, audio files, resolved.yaml and decoded windows."""
    video_vae: Place = ""
    """Folder of a video VAE (this project's or Open-Sora's format) or a name on the Hugging Face hub; empty:
    no video."""
    audio_vae: Place = ""
    """Folder of an audio VAE; empty: no audio."""
    clip: ClipSpec = ClipSpec()
    """Length of a window, and at what size and rates it is read."""
    windows_per_clip: int = Field(default=5, ge=1)
    """Largest number of non-overlapping windows per file, from its beginning."""
    draw: bool = False
    """Draw the latents from the posterior, as training does; otherwise its mode is decoded."""
    pictures: int = Field(default=6, ge=0)
    """Windows per folder that are written as an image, original above reconstruction (and audio as wav)."""
    seed: int = 0
    """Seed of the draws from the posterior."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.video_vae or self.audio_vae):
            raise ValueError("video_vae, audio_vae: give one or both")
        names = [folder.resolve().name for folder in self.clips]
        if len(set(names)) < len(names):
            raise ValueError(f"clips: two folders of one name ({', '.join(names)}); rename or link one")
        return self
