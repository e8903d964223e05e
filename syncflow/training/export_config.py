"""Settings of `pipelines/export_checkpoint.py`."""

from pathlib import Path
from typing import Literal

from syncflow.config import Config


class ExportConfig(Config):
    """Saved states of a stage in, a checkpoint for each of them out."""

    run: Path
    """Folder of a trained stage, which holds `engine` and resolved.yaml, as out/greatest_hits/runs/audio."""
    steps: tuple[int, ...] = ()
    """Steps whose states are exported, as 24000 24500 25000; empty: of every state that is there."""
    output: Path | None = None
    """Folder for step_00024000, step_00024500 ...; default: `checkpoints` in the stage's folder."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """Moving average, or the step's own weights; auto: as the stage's settings say."""
