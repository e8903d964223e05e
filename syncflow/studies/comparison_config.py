"""Settings of `pipelines/compare_runs.py`."""

from pathlib import Path

from pydantic import Field

from syncflow.config import Config
from syncflow.places import StoreUri


class CompareConfig(Config):
    """Which MLflow runs to lay side by side, and where the comparison goes."""

    tracking_uri: StoreUri
    """MLflow store or server, for example sqlite:///out/demo/mlflow.db."""
    experiment: str = ""
    """Name of the MLflow experiment; empty takes all."""
    runs: tuple[str, ...] = ()
    """Names or ids of the runs to compare; empty takes all that hold metrics."""
    group_by: tuple[str, ...] = ()
    """Settings or tags, for example model.adaptor.kind: runs that agree in them (different seeds, for
    example) are shown as one column and one curve, mean ± sample deviation. Empty: each run is its own
    column."""
    allow_different: tuple[str, ...] = ()
    """Parts of the evaluation protocol or of the data in which runs of a stage may differ all the same."""
    sample_steps: int = Field(default=4, ge=0)
    """Steps per run whose clips (`samples.every` of training) are in the page, run beside run, evenly over
    the training; 0: no clips. With one run the page is a report of its training."""
    tensorboard: Path | None = None
    """Folder to write the runs to as TensorBoard event files too. Example: out/tensorboard."""
    output: Path = Path("out/comparison")
    """Folder for comparison.md, comparison.html (self-contained: it opens offline) and the curves."""
