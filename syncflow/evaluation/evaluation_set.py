"""Which clips are compared: systems with the ids of their clips, and evaluation sets as tables.

An evaluation set is a csv file with the columns id, prompt, video, start_s: what a system is given, and where
the real clip of that id lies. Paths in it are relative to its folder unless they are absolute.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.evaluation.extraction import ClipFile
from syncflow.media.clip_folder import captions_by_id, clip_id, clips_of_split

COLUMNS = ("id", "prompt", "video", "start_s")
NUMBERED = re.compile(r"(\d{5})-(\d+)\.\w+")  # what generate.py calls its clips: row and copy


@dataclass(frozen=True, kw_only=True)
class System:
    """What makes one column of the table: every clip that is expected of it, and clips that are not."""

    name: str
    clips: tuple[ClipFile, ...]
    extra: tuple[str, ...] = ()  # media files in its folder that nothing asked for


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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(table.getvalue(), encoding="utf-8")
    partial.replace(path)
    return len(rows)


def read_evaluation_set(path: Path) -> list[ClipFile]:
    """The rows of the table, in order.

    Raises:
        UserError: it cannot be read, a column is missing, an id is there twice, or a start is no number.
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


def reference_clips(folder: Path, *, split: str) -> list[ClipFile]:
    """The real clips of a folder, with their captions."""
    captions = captions_by_id(folder)
    return [
        ClipFile(id=clip_id(path), path=path, prompt=captions.get(clip_id(path), ""))
        for path in clips_of_split(folder, split)
    ]


def system_of(name: str, folder: Path, files: Sequence[Path], expected: Sequence[ClipFile] | None) -> System:
    """A folder's clips under the ids that they are compared by.

    Args:
        files: the clips that the folder should hold.
        expected: the rows of an evaluation set; clip `00012-0` was made for row 12.

    Raises:
        UserError: a clip of a number that the evaluation set does not have.
    """
    rows = _manifest_rows(folder)
    clips, extra = [], []
    by_number = dict(enumerate(expected or ()))
    for file in files:
        row = rows.get(file.name, {})
        numbered = NUMBERED.fullmatch(file.name)
        if expected is not None:
            number = int(row.get("row") or (numbered[1] if numbered else -1))
            known = by_number.pop(number, None) or _by_id(expected, file, clips)
            if known is None:
                extra.append(file.name)
                continue
            clips.append(ClipFile(id=known.id, path=file, prompt=known.prompt))
        else:
            video = row.get("video", "")
            prompt = row.get("prompt", "")
            own = clip_id(Path(video)) if video else clip_id(file)
            if any(clip.id == own for clip in clips):  # one more clip for the same video
                own = f"{own}#{file.stem}"
            clips.append(ClipFile(id=own, path=file, prompt=prompt))
    if expected is not None:
        made = {clip.id for clip in clips}
        missing = [clip for clip in expected if clip.id not in made]
        clips += [ClipFile(id=c.id, path=folder / f"{c.id}.mp4", prompt=c.prompt) for c in missing]
    return System(name=name, clips=tuple(clips), extra=tuple(extra))


def _by_id(expected: Sequence[ClipFile], file: Path, taken: Sequence[ClipFile]) -> ClipFile | None:
    used = {clip.id for clip in taken}
    return next((c for c in expected if c.id == clip_id(file) and c.id not in used), None)


def _manifest_rows(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "manifest.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}
