"""A table of clips, csv or Parquet: path, and if need be clip_id, caption, split, start_s, duration_s."""

import math
from collections.abc import Iterator
from typing import Any

from preprocessing.sources.captions import read_captions
from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import require_folder
from preprocessing.sources.text_files import read_csv_table, read_parquet
from syncflow.errors import UserError
from syncflow.records import ClipRef

DATASET = "manifest"
COLUMNS = ("path", "clip_id", "caption", "split", "start_s", "duration_s")


def read_manifest(config: SourceConfig) -> Iterator[tuple[str, ClipRef]]:
    """One clip a row; paths are relative to the root, and the default of an id is the path.

    Raises:
        UserError: (with the row's line) a missing path, or a value that is no split or no time.
    """
    if config.index is None:
        raise UserError("manifest index: none given; set source.index to a csv or Parquet table")
    root = require_folder(config.root, source=DATASET)
    captions = read_captions(config.captions)
    table = config.index
    rows = read_parquet(table, columns=COLUMNS) if table.suffix == ".parquet" else read_csv_table(table)
    for line, row in rows:
        where = f"{table}, line {line}"
        if not row.get("path"):
            raise UserError(f"{where}: no path; expected the columns {', '.join(COLUMNS)} (path at least)")
        split = str(row.get("split") or "").strip() or "train"
        if split not in ("train", "test"):
            raise UserError(f"{where}: split {str(split)[:40]!r}; expected train or test")
        clip_id = str(row.get("clip_id") or row["path"])
        yield (
            where,
            ClipRef(
                dataset=DATASET,
                clip_id=clip_id,
                path=root / str(row["path"]),
                split=split,
                start_s=_seconds(row.get("start_s"), where, "start_s") or 0.0,
                duration_s=_seconds(row.get("duration_s"), where, "duration_s"),
                caption=captions.clip(clip_id) or " ".join(str(row.get("caption") or "").split()),
                window_captions=captions.windows(clip_id),
            ),
        )


def _seconds(value: Any, where: str, name: str) -> float | None:
    if value is None or str(value).strip() == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise UserError(f"{where}: {name} {str(value)[:40]!r}; expected seconds, 0 or more")
    return seconds
