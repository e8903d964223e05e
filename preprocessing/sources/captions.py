"""Captions that exist already: a csv, jsonl or Parquet file of clip_id, caption and, if need be, window."""

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocessing.sources.text_files import cell_text, is_absent, read_table
from syncflow.errors import UserError
from syncflow.printable import printable

MOST_WINDOWS = 1000  # of a clip


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Captions of clips, and of single windows of them; it remembers which of them a clip asked for."""

    path: Path | None = None
    of_clip: dict[str, str] = field(default_factory=dict)
    of_windows: dict[str, dict[int, str]] = field(default_factory=dict)
    _asked: dict[str, None] = field(default_factory=dict)  # names of clips, in order

    def clip(self, *names: str) -> str:
        """The caption of the first of a clip's names that has one; else empty."""
        self._asked.update(dict.fromkeys(names))
        return next((self.of_clip[name] for name in names if name in self.of_clip), "")

    def windows(self, *names: str) -> tuple[str, ...]:
        """Captions of windows 0, 1, ..., empty where there is none."""
        self._asked.update(dict.fromkeys(names))
        found = next((self.of_windows[name] for name in names if name in self.of_windows), {})
        return tuple(found.get(k, "") for k in range(max(found) + 1)) if found else ()

    def notes(self) -> list[str]:
        """What of the table serves no clip, a line each; to be asked when all clips are listed.

        Raises:
            UserError: no name in it is a clip's.
        """
        named = {**self.of_clip, **self.of_windows}
        unmatched = [name for name in named if name not in self._asked]
        if self.path is None:
            return []
        if len(unmatched) == len(named):
            raise UserError(
                f"{self.path}: none of {len(named)} captions matches a clip{self._compared(unmatched)}; "
                "give the clips' ids in clip_id"
            )
        notes = []
        if unmatched:
            notes.append(
                f"{self.path}: {len(unmatched)} of {len(named)} captions match no clip"
                f"{self._compared(unmatched)}"
            )
        texts = [
            *self.of_clip.values(),
            *(t for windows in self.of_windows.values() for t in windows.values()),
        ]
        if empty := sum(not text for text in texts):
            notes.append(
                f"{self.path}: {empty} of {len(texts)} captions are empty, as if they were not there"
            )
        return notes

    def _compared(self, unmatched: list[str]) -> str:
        """A name that none asked for beside one that was; what tells them apart may not be seen."""
        first, asked = next(iter(unmatched), ""), next(iter(self._asked), "")
        if not first:
            return ""
        by_form = {unicodedata.normalize("NFC", name): name for name in self._asked}
        for name in unmatched:
            same = by_form.get(unicodedata.normalize("NFC", name))
            if same is not None:
                return f" ({ascii(name)[:80]} there is not {ascii(same)[:80]}: another Unicode form)"
        return f" (first there {printable(first)[:80]!r}, first clip {asked[:80]!r})"


def read_captions(path: Path | None) -> Captions:
    """What a captions file holds; nothing without one. `id` is taken for clip_id.

    Raises:
        UserError: (with the line's number) a line without id and caption, a window that is no small whole
            number, or a clip or window that comes twice.
    """
    captions = Captions(path=path)
    if path is None:
        return captions
    for number, row in read_table(path, columns=("clip_id", "id", "caption", "window")):
        where = f"{path}, line {number}"
        clip_id = cell_text(row.get("clip_id", row.get("id")), where, "clip_id")
        if not clip_id or "caption" not in row:
            raise UserError(f"{where}: expected clip_id, caption and maybe window; got {sorted(row)}")
        text, window = " ".join(cell_text(row["caption"], where, "caption").split()), row.get("window")
        if is_absent(window):
            _add(captions.of_clip, clip_id, text, where=where)
        else:
            windows = captions.of_windows.setdefault(clip_id, {})
            _add(windows, _window(window, where), text, where=f"{where}: clip {clip_id!r}")
    return captions


def _add(captions: dict[Any, str], key: Any, text: str, *, where: str) -> None:
    if key in captions:
        raise UserError(f"{where}: {key!r} comes twice; keep one")
    captions[key] = text


def _window(value: Any, where: str) -> int:
    try:
        number = float(value)  # a column with gaps holds whole numbers as 1.0
    except (TypeError, ValueError):
        number = -1.0
    if not (0 <= number < MOST_WINDOWS and number.is_integer()):
        raise UserError(f"{where}: window {str(value)[:40]!r}; expected a whole number from 0 on")
    return int(number)
