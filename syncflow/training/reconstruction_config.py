"""Settings of `pipelines/reconstruct.py`."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from syncflow.config import Config
from syncflow.places import Place
from syncflow.records import ClipSpec


class ReconstructionConfig(Config):
    """What autoencoders keep of folders of files: picture, sound, and the instants of onsets."""

    clips: tuple[Path, ...]
    """Folders of clips (or of wav and flac files, for the audio VAE alone)."""
    output: Path
    """Folder for video.csv, audio.csv, summary.md, pictures, sounds, resolved.yaml and decoded windows."""
    video_vae: Place = ""
    """Folder of a video VAE (ours or Open-Sora's format) or a name on the Hugging Face hub; empty: none."""
    audio_vae: Place = ""
    """Folder of an audio VAE; empty: none."""
    clip: ClipSpec = ClipSpec()
    """Length of a window, and at what size and rates it is read."""
    windows_per_clip: int = Field(default=5, ge=1)
    """Non-overlapping windows of each file, from its beginning, at most."""
    draw: bool = False
    """Draw the latents from the posterior, as training does; otherwise its mode is decoded."""
    pictures: int = Field(default=6, ge=0)
    """Windows of each folder that are shown, original above reconstruction (and sound as wav)."""
    seed: int = 0
    """Seed of the draws."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.video_vae or self.audio_vae):
            raise ValueError("video_vae, audio_vae: give one or both")
        names = [folder.resolve().name for folder in self.clips]
        if len(set(names)) < len(names):
            raise ValueError(f"clips: two folders of one name ({', '.join(names)}); rename or link one")
        return self
