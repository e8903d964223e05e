"""Settings of `pipelines/export_checkpoint.py`."""

from pathlib import Path
from typing import Literal

from syncflow.config import Config


class ExportConfig(Config):
    """Saved states of a stage in, a checkpoint for each of them out."""

    run: Path
    """Folder of a trained stage, which holds `engine` and resolved.yaml, for example
    out/greatest_hits/runs/audio."""
    steps: tuple[int, ...] = ()
    """Steps whose states are exported, for example 24000 24500 25000; empty: every saved state."""
    output: Path | None = None
    """Folder for step_00024000, step_00024500 ...; default: `checkpoints` in the stage's folder."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """Which weights: the moving average (`ema`), the step's own (`raw`), or what the stage's settings say
    (`auto`)."""
