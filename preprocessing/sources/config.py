"""Settings of a source: which clips, from where."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from syncflow.config import Config

SourceKind = Literal["vggsound", "greatest_hits", "synthetic", "folder", "manifest"]


class SourceConfig(Config):
    """A stream of clips. What a kind does not use is left empty."""

    kind: SourceKind = "folder"
    """vggsound: csv and clip files; greatest_hits: the official flat layout; synthetic: the same with
    captions.csv; folder: every media file under root; manifest: a csv or Parquet table."""
    root: Path
    """Folder of the media files."""
    index: Path | None = None
    """vggsound: vggsound.csv; manifest: the table (columns path, and if need be clip_id, caption, split,
    start_s, duration_s). Unused by the others."""
    captions: Path | None = None
    """csv (clip_id,caption) or jsonl ({"clip_id", "caption"}) of captions, which outrank a label's; the
    synthetic source takes root/captions.csv if none is given."""
    split: Literal["train", "test", "all"] = "all"
    """Which clips to take."""
    segment_seconds: float | None = Field(default=None, gt=0)
    """greatest_hits and synthetic: length of the segments that a video is cut into, its remainder
    dropped, seconds (the paper: 10); none takes each file whole."""
    limit: int = Field(default=0, ge=0)
    """Take only the first clips; 0 takes all."""
