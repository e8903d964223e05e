"""Captions that exist already: a csv, jsonl or Parquet file of clip_id, caption and, if need be, window."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocessing.sources.text_files import read_csv_table, read_jsonl, read_parquet
from syncflow.errors import UserError

MOST_WINDOWS = 1000  # of a clip


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Captions of clips, and of single windows of them."""

    of_clip: dict[str, str] = field(default_factory=dict)
    of_windows: dict[str, dict[int, str]] = field(default_factory=dict)

    def clip(self, *names: str) -> str:
        """The caption of the first of a clip's names that has one; else empty."""
        return next((self.of_clip[name] for name in names if name in self.of_clip), "")

    def windows(self, *names: str) -> tuple[str, ...]:
        """Captions of windows 0, 1, ..., empty where there is none."""
        found = next((self.of_windows[name] for name in names if name in self.of_windows), {})
        return tuple(found.get(k, "") for k in range(max(found) + 1)) if found else ()


def read_captions(path: Path | None) -> Captions:
    """What a captions file holds; nothing without one. `id` is taken for clip_id.

    Raises:
        UserError: (with the line's number) a line without id and caption, a window that is no small whole
            number, or a clip or window that comes twice.
    """
    captions = Captions()
    if path is None:
        return captions
    for number, row in _rows(path):
        where = f"{path}, line {number}"
        clip_id, caption, window = row.get("clip_id", row.get("id")), row.get("caption"), row.get("window")
        if not isinstance(clip_id, str) or not isinstance(caption, str):
            raise UserError(f"{where}: expected clip_id, caption and maybe window; got {sorted(row)}")
        text = " ".join(caption.split())
        if window in (None, ""):
            _add(captions.of_clip, clip_id, text, where=where)
        else:
            windows = captions.of_windows.setdefault(clip_id, {})
            _add(windows, _window(window, where), text, where=f"{where}: clip {clip_id!r}")
    return captions


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".parquet":
        return read_parquet(path, columns=("clip_id", "id", "caption", "window"))
    return read_jsonl(path) if path.suffix == ".jsonl" else read_csv_table(path)


def _add(captions: dict[Any, str], key: Any, text: str, *, where: str) -> None:
    if key in captions:
        raise UserError(f"{where}: {key!r} comes twice; keep one")
    captions[key] = text


def _window(value: Any, where: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < MOST_WINDOWS:
        raise UserError(f"{where}: window {str(value)[:40]!r}; expected a whole number from 0 on")
    return number
