"""Settings of `pipelines/compare_runs.py`."""

from pathlib import Path

from syncflow.config import Config
from syncflow.places import StoreUri


class CompareConfig(Config):
    """Which MLflow runs to lay side by side, and where the comparison goes."""

    tracking_uri: StoreUri
    """MLflow's store or server, as sqlite:///out/demo/mlflow.db."""
    experiment: str = ""
    """Name of the experiment; empty takes all."""
    runs: tuple[str, ...] = ()
    """Names or ids of runs; empty takes all that hold metrics."""
    group_by: tuple[str, ...] = ()
    """Settings or tags, as model.adaptor.kind: runs with the same values of them (seeds, for one) are shown
    as one column and one curve, mean ± sample deviation. Empty: each run by itself."""
    allow_different: tuple[str, ...] = ()
    """Parts of the evaluation protocol or of the data in which runs of a stage may differ all the same."""
    output: Path = Path("out/comparison")
    """Folder for comparison.md, comparison.html and the curves."""
