"""Settings of `pipelines/compare_runs.py`."""

from pathlib import Path

from syncflow.config import Config


class CompareConfig(Config):
    """Which MLflow runs to lay side by side, and where the comparison goes."""

    tracking_uri: str
    """MLflow's store or server, as sqlite:///out/demo/mlflow.db."""
    experiment: str = ""
    """Name of the experiment; empty takes all."""
    runs: tuple[str, ...] = ()
    """Names or ids of runs; empty takes all that hold metrics."""
    output: Path = Path("out/comparison")
    """Folder for comparison.md, comparison.html and the curves."""
