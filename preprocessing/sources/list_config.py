"""Settings of `pipelines/list_clips.py`."""

from pathlib import Path

from preprocessing.sources.config import SourceConfig
from syncflow.config import Config


class ListConfig(Config):
    """A source's clips as lists that the other commands take."""

    source: SourceConfig
    """Dataset whose clips are listed."""
    output: Path
    """Folder for train.txt and test.txt (one file per line: `clips` and `held_out` of train_autoencoder.py),
    and, of the test clips that have a caption or a label, prompts.csv (text to clip) and videos.csv (video to
    audio), both for --prompts of generate.py."""
