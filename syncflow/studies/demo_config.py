"""Settings of `pipelines/demo.py`."""

from pathlib import Path

from pydantic import Field

from syncflow.config import Config


class DemoConfig(Config):
    """The whole way on the tiny preset; what is not set here is the preset's."""

    output: Path = Path("out/demo")
    """Folder for everything that the demo writes."""
    clips: int = Field(default=600, ge=10)
    """Number of synthetic clips."""
    video_steps: int = Field(default=0, ge=0)
    """Training steps of the video stage; 0 takes the preset's."""
    audio_steps: int = Field(default=0, ge=0)
    """Training steps of the audio stage; 0 takes the preset's."""
    joint_steps: int = Field(default=0, ge=0)
    """Training steps of the joint stage; 0 takes the preset's."""
    seed: int = Field(default=0, ge=0)
    """Seed of the clips that are generated."""
