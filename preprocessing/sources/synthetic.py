"""The clips of `pipelines/make_demo_clips.py`: Greatest Hits' layout, and captions.csv."""

from collections.abc import Iterator
from pathlib import Path

from preprocessing.sources.config import SourceConfig
from preprocessing.sources.greatest_hits import read_greatest_hits
from preprocessing.sources.media_files import require_folder
from syncflow.records import ClipRef

DATASET = "synthetic"


def read_synthetic(config: SourceConfig) -> Iterator[tuple[str, ClipRef]]:
    """As `read_greatest_hits`, with the captions of `root`/captions.csv unless others are given."""
    own = require_folder(config.root, source=DATASET) / "captions.csv"
    if config.captions is None and isinstance(own, Path):
        config = config.model_copy(update={"captions": own})
    return read_greatest_hits(config, dataset=DATASET)
