"""Settings of a source: which clips, from where."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from syncflow.config import Config, Role
from syncflow.places import FolderOrUrl

SourceKind = Literal["vggsound", "greatest_hits", "synthetic", "folder", "manifest"]


class SourceConfig(Config):
    """A stream of clips. What a kind does not use is left empty."""

    kind: SourceKind = "folder"
    """vggsound: csv and clip files; greatest_hits: the official flat layout; synthetic: the same with
    captions.csv; folder: every media file under root; manifest: a table (csv, jsonl or Parquet)."""
    root: Annotated[FolderOrUrl, Role.WORK]
    """Folder of the media files, local or any fsspec URL (s3://bucket/clips); a remote file is fetched while
    it is decoded."""
    moved: Annotated[bool, Role.WORK] = False
    """The clips lie under another root than before and some have changed: do these again. Without it a file
    of another root and other bytes is refused, for two folders may use the same ids."""
    index: Annotated[Path | None, Role.WORK] = None
    """vggsound: vggsound.csv; manifest: the table (columns path, and if need be clip_id, caption, split,
    start_s, duration_s); greatest_hits: if given, a csv (video_id, duration_s, official_split), so that no
    video is probed for its length. Unused by the others."""
    captions: Annotated[Path | None, Role.WORK] = None
    """csv, jsonl or Parquet file of captions (clip_id, caption and, for the caption of one window, window);
    the synthetic source takes root/captions.csv if none is given. A file that names no clip is refused. An
    edited caption is embedded again, no more."""
    known_bad: Annotated[Path | None, Role.WORK] = None
    """Table (clip, reason) of clips that are not to be used; each is counted as rejected."""
    split: Annotated[Literal["train", "test", "all"], Role.WORK] = "all"
    """Split whose clips are taken; all takes every one."""
    unlisted: Literal["train", "test", "leave_out"] = "train"
    """greatest_hits: what the videos (four of the original) are that neither train.txt nor test.txt names."""
    segment_seconds: float | None = Field(default=None, gt=0)
    """greatest_hits and synthetic: length of the segments that a video is cut into, its remainder
    dropped, seconds (the paper: 10); none takes each file whole."""
    limit: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Take only the first so many clips; 0 takes all."""
