"""A table of clips, csv or Parquet: path, and if need be clip_id, caption, split, start_s, duration_s."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import require_folder
from preprocessing.sources.text_files import read_captions, read_csv_table
from syncflow.errors import UserError
from syncflow.records import ClipRef

DATASET = "manifest"
COLUMNS = ("path", "clip_id", "caption", "split", "start_s", "duration_s")


def read_manifest(config: SourceConfig) -> Iterator[ClipRef]:
    """One clip a row; paths are relative to the root, and the default of an id is the path.

    Raises:
        UserError: (with the row's line) a missing path, or a value that is no split or no time.
    """
    if config.index is None:
        raise UserError("manifest index: none given; set source.index to a csv or Parquet table")
    root = require_folder(config.root, source=DATASET)
    captions = read_captions(config.captions) if config.captions else {}
    rows = _parquet(config.index) if config.index.suffix == ".parquet" else read_csv_table(config.index)
    for line, row in rows:
        where = f"{config.index}, line {line}"
        if not row.get("path"):
            raise UserError(f"{where}: no path; expected the columns {', '.join(COLUMNS)} (path at least)")
        split = row.get("split") or "train"
        if split not in ("train", "test"):
            raise UserError(f"{where}: split {str(split)[:40]!r}; expected train or test")
        clip_id = str(row.get("clip_id") or row["path"])
        yield ClipRef(
            dataset=DATASET,
            clip_id=clip_id,
            path=root / str(row["path"]),
            split=split,
            start_s=_seconds(row.get("start_s"), where, "start_s") or 0.0,
            duration_s=_seconds(row.get("duration_s"), where, "duration_s"),
            caption=captions.get(clip_id) or " ".join(str(row.get("caption") or "").split()),
        )


def _seconds(value: Any, where: str, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise UserError(f"{where}: {name} {str(value)[:40]!r}; expected seconds, 0 or more")
    return seconds


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by number from 1; only our columns are read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            names = [name for name in COLUMNS if name in table.schema_arrow.names]
            number = 0
            for batch in table.iter_batches(columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: no readable Parquet table ({' '.join(str(error).split())[:200]})") from None
