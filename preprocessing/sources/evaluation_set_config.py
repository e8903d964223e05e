"""Settings of `pipelines/make_evaluation_set.py`."""

from pathlib import Path

from preprocessing.sources.config import SourceConfig
from syncflow.config import Config


class EvaluationSetConfig(Config):
    """The test clips of a source, as a table that generation and evaluation take."""

    source: SourceConfig
    """Dataset whose test clips are listed."""
    output: Path
    """The table: a csv file with the columns id, prompt, video, start_s."""
