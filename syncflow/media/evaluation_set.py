"""An evaluation set: which clips a system is asked for, as a csv file that generation and evaluation share.

The columns are id, prompt, video and start_s: what a system is given, and where the real clip of that id
lies. Paths in it are relative to its folder unless they are absolute.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.files import write_whole

COLUMNS = ("id", "prompt", "video", "start_s")


@dataclass(frozen=True, kw_only=True)
class ClipFile:
    """A clip: its id in the evaluation set, its file, where its window starts (seconds), and its prompt."""

    id: str
    path: Path
    start_s: float = 0.0
    prompt: str = ""


def write_evaluation_set(path: Path, clips: Iterable[ClipFile]) -> int:
    """Write the table, whole or not at all; returns its number of rows.

    Raises:
        UserError: two rows have one id, or there are none.
    """
    rows = list(clips)
    _require_distinct([clip.id for clip in rows], path)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((clip.id, clip.prompt, clip.path, f"{clip.start_s:g}") for clip in rows)
    write_whole(path, table.getvalue())
    return len(rows)


def read_evaluation_set(path: Path) -> list[ClipFile]:
    """The rows of the table, in order.

    Raises:
        UserError: it cannot be read, a column is missing, an id is empty or there twice, or a start is not a
            number of seconds from 0 on.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a UTF-8 table ({error})") from None
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            start_s = float(row["start_s"] or 0.0)
            if not 0 <= start_s < float("inf"):
                raise ValueError(f"start_s {row['start_s']}: expected seconds from 0 on")
            if not row["id"]:
                raise ValueError("no id")
            video = path.parent / row["video"]
            found.append(ClipFile(id=row["id"], path=video, start_s=start_s, prompt=row["prompt"] or ""))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: line {number}: {error}; expected the columns {', '.join(COLUMNS)}"
            ) from None
    _require_distinct([clip.id for clip in found], path)
    return found


def _require_distinct(ids: Sequence[str], path: Path) -> None:
    if not ids:
        raise UserError(f"{path}: an evaluation set without rows")
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise UserError(f"{path}: id {each!r} is there twice; each clip counts once")
        seen.add(each)
