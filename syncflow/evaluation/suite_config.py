"""Settings of `pipelines/evaluate.py`."""

from pathlib import Path

from pydantic import Field

from syncflow.config import Config
from syncflow.records import ClipSpec


class EvaluateConfig(Config):
    """Folders of clips, one a system, scored by the same protocol."""

    clips: tuple[Path, ...]
    """Folders of clips; a folder's name names the system (real clips are a system too)."""
    output: Path
    """Folder for scores.csv, summary.csv, summary.md and resolved.yaml."""
    clip: ClipSpec = ClipSpec()
    """What is read of each clip: its first window."""
    tolerance_s: float = Field(0.1, gt=0, le=1)
    """Largest distance at which a sound and a motion peak match, seconds."""
    tracking_uri: str = ""
    """MLflow server or SQLite file; empty takes <output>/../mlflow.db."""
    experiment: str = "syncflow"
    """MLflow experiment."""
    run_name: str = "evaluate"
    """Name of the MLflow run."""
