"""Settings of `pipelines/evaluate.py`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from syncflow.config import Config, Role
from syncflow.evaluation.metrics_config import MetricsConfig
from syncflow.places import StoreUri, store_of
from syncflow.records import ClipSpec


class EvaluateConfig(Config):
    """Folders of clips, one a system, scored by the same protocol."""

    clips: Annotated[tuple[Path, ...], Role.WORK]
    """Folders of clips, one per system (real clips are one too). A system is named by its folder, and by
    those above it where two folders have one name."""
    output: Annotated[Path, Role.WORK]
    """Folder for scores.csv, summary.csv, summary.md and resolved.yaml."""
    split: Literal["all", "train", "test"] = "all"
    """Which clips: of a dataset's folder those whose ids its train.txt or test.txt lists; of generated ones
    those made for such a video. Clips made from a prompt alone are all taken. Example: test."""
    mean_as: str = ""
    """A name for all folders together, which are one system at several checkpoints (export_checkpoint.py):
    the mean and deviation of their figures are reported too, as the paper does over the last three.
    Empty: no mean. Example: SyncFlow-GH."""
    clip: ClipSpec = ClipSpec()
    """Length, size and rates at which the first window of each clip is read."""
    metrics: MetricsConfig = MetricsConfig()
    """Learned metrics, beside the sync score."""
    plan: Annotated[bool, Role.WORK] = False
    """Only print what the metrics would take (missing weights, clips to compute, time, memory), and compute
    nothing."""
    tolerance_s: float = Field(default=0.1, gt=0, le=1)
    """Largest distance at which an audio onset and a motion peak match, seconds."""
    tracking_uri: Annotated[StoreUri, Role.WORK] = ""
    """MLflow's store or server; empty takes mlflow.db beside `output`, `none` tracks nothing."""
    experiment: Annotated[str, Role.WORK] = "syncflow"
    """MLflow experiment in which the run is filed."""
    run: Annotated[str, Role.WORK] = "evaluation"
    """Name of the parent run in MLflow: that of the training whose clips are evaluated."""

    @property
    def tracking(self) -> str:
        """MLflow's URI; empty when nothing is tracked."""
        return store_of(self.tracking_uri, beside=self.output.resolve().parent)
