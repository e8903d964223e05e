"""A table (csv, jsonl, Parquet): path, and if need be clip_id, caption, split, start_s, duration_s."""

import math
from collections.abc import Iterator
from typing import Any

from preprocessing.sources.captions import Captions
from preprocessing.sources.config import SourceConfig
from preprocessing.sources.passed_over import PassedOver
from preprocessing.sources.text_files import cell_text, is_absent, read_table
from syncflow.errors import UserError
from syncflow.printable import printable
from syncflow.records import ClipRef
from syncflow.storage import Location

DATASET = "manifest"
COLUMNS = ("path", "clip_id", "caption", "split", "start_s", "duration_s")


def read_manifest(
    config: SourceConfig, *, root: Location, captions: Captions, passed_over: PassedOver
) -> Iterator[tuple[str, ClipRef]]:
    """One clip a row; paths are relative to the root, and the default of an id is the path.

    Raises:
        UserError: (with the row's line) a missing path, or a value that is no split or no time.
    """
    if config.index is None:
        raise UserError("manifest index: none given; set source.index to a csv, jsonl or Parquet table")
    for line, row in read_table(config.index, columns=COLUMNS):
        where = f"{config.index}, line {line}"
        path = cell_text(row.get("path"), where, "path")
        if not path:
            raise UserError(f"{where}: no path; expected the columns {', '.join(COLUMNS)} (path at least)")
        split = cell_text(row.get("split"), where, "split").strip() or "train"
        if split not in ("train", "test"):
            raise UserError(f"{where}: split {split[:40]!r}; expected train or test")
        clip_id = cell_text(row.get("clip_id"), where, "clip_id") or path
        names, own = (clip_id, printable(clip_id)), cell_text(row.get("caption"), where, "caption")
        yield (
            where,
            ClipRef(
                dataset=DATASET,
                clip_id=clip_id,
                path=root / path,
                split=split,
                start_s=_seconds(row.get("start_s"), where, "start_s") or 0.0,
                duration_s=_seconds(row.get("duration_s"), where, "duration_s"),
                caption=captions.clip(*names) or " ".join(own.split()),
                window_captions=captions.windows(*names),
            ),
        )


def _seconds(value: Any, where: str, name: str) -> float | None:
    if is_absent(value):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise UserError(f"{where}: {name} {str(value)[:40]!r}; expected seconds, 0 or more")
    return seconds
