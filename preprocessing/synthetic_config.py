"""Settings of the synthetic drumstick clips (`pipelines/make_demo_clips.py`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from syncflow.config import Config, Role

MaterialName = Literal["metal", "wood", "plastic", "cloth", "gravel", "ceramic", "water", "gong"]
BASIC: tuple[MaterialName, ...] = ("metal", "wood", "plastic", "cloth", "gravel", "ceramic", "water")


class SyntheticClipsConfig(Config):
    """A folder of drumstick clips in Greatest Hits' layout, with known instants of impact."""

    output: Annotated[Path, Role.WORK]
    """Folder for the clips, the tables and resolved.yaml."""
    count: Annotated[int, Role.WORK] = Field(default=160, ge=1)
    """Number of clips; clip i is the same whatever the count."""
    seconds: float = Field(default=4.0, ge=1.0, le=120.0)
    """Length of a clip, seconds."""
    size: int = Field(default=256, ge=32, le=2048, multiple_of=2)
    """Rows and columns of the drawn frames, pixels."""
    fps: int = Field(default=30, ge=8, le=120)
    """Frames per second of the drawn clips."""
    sample_rate: int = Field(default=48_000, ge=8_000, le=96_000)
    """Sample rate of the drawn clips' mono audio, Hz."""
    seed: int = Field(default=0, ge=0, le=9_999)
    """Seed of all draws; it also gives the day in the clips' ids."""
    variety: float = Field(default=1.0, ge=0.0, le=1.0)
    """How much backgrounds and colours differ between clips: 0 is one plain wall and table and each
    material's colours as they are, 1 adds gradients, textures, blurred shapes and tints."""
    stick_width: float = Field(default=1.0, gt=0.0, le=4.0)
    """Width of the drumstick, as a multiple of 2.4 % of the frame; small frames need a wider one."""
    materials: tuple[MaterialName, ...] = Field(default=BASIC, min_length=1)
    """What the objects are made of, in turns: clip i has material i modulo their number. `gong` is one that
    the shipped model does not know."""
    most_impacts: int = Field(default=6, ge=1, le=6)
    """Largest number of impacts per clip."""
    hold_out: Annotated[Literal["clips", "combinations"], Role.WORK] = "clips"
    """What test.txt holds: `clips`, evenly spread; `combinations`, every clip of a share of the combinations
    of material, action and number of impacts, so that no such caption is in train.txt."""
    test_share: Annotated[float, Role.WORK] = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the clips (or of the combinations) that test.txt lists; the others are in train.txt."""
    workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Processes that draw and encode clips; 0 takes one per core."""
