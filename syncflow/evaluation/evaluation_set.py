"""Which clips are compared: the real ones, and each system's under the ids that they are compared by."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.media.clip_folder import captions_by_id, clip_id, clips_of_split
from syncflow.media.evaluation_set import ClipFile

NUMBERED = re.compile(r"(\d{5,})-(\d+)\.\w+")  # what generate.py calls its clips: row and copy


@dataclass(frozen=True, kw_only=True)
class System:
    """What makes one column of the table: every clip that is expected of it, and clips that are not."""

    name: str
    clips: tuple[ClipFile, ...]
    extra: tuple[str, ...] = ()  # media files in its folder that nothing asked for


def reference_clips(folder: Path, *, split: str) -> list[ClipFile]:
    """The real clips of a folder, with their captions."""
    captions = captions_by_id(folder)
    return [
        ClipFile(id=clip_id(path), path=path, prompt=captions.get(clip_id(path), ""))
        for path in clips_of_split(folder, split)
    ]


def system_of(name: str, folder: Path, files: Sequence[Path], expected: Sequence[ClipFile] | None) -> System:
    """A folder's clips under the ids that they are compared by.

    A clip of an evaluation set is found by the id in its manifest (generate.py --evaluation-set), else by the
    id of its video or of its own file, else by its number: `00012-0` was made for row 12. What none of these
    finds, or finds a second time, is a clip that nothing asked for.

    Args:
        files: the clips that the folder should hold.
        expected: the rows of an evaluation set.
    """
    rows = _manifest_rows(folder)
    by_id = {clip.id: clip for clip in expected or ()}
    clips: dict[str, ClipFile] = {}
    extra = []
    for file in files:
        row = rows.get(file.name, {})
        if expected is not None:
            known = _row_of(expected, by_id, file, row)
            if known is None or known.id in clips:
                extra.append(file.name)
            else:
                clips[known.id] = ClipFile(id=known.id, path=file, prompt=known.prompt)
        else:
            video = row.get("video", "")
            own = clip_id(Path(video)) if video else clip_id(file)
            if own in clips:  # one more clip for the same video
                own = f"{own}#{file.stem}"
            clips[own] = ClipFile(id=own, path=file, prompt=row.get("prompt", ""))
    for each in by_id.values():
        missing = ClipFile(id=each.id, path=folder / f"{each.id}.mp4", prompt=each.prompt)
        clips.setdefault(each.id, missing)
    return System(name=name, clips=tuple(clips.values()), extra=tuple(extra))


def _row_of(
    expected: Sequence[ClipFile], by_id: Mapping[str, ClipFile], file: Path, row: Mapping[str, str]
) -> ClipFile | None:
    """The row of the evaluation set that a clip was made for; `row` is its line of the manifest."""
    if row.get("id"):
        return by_id.get(row["id"])
    own = by_id.get(clip_id(Path(row["video"]))) if row.get("video") else by_id.get(clip_id(file))
    numbered = NUMBERED.fullmatch(file.name)
    if own is not None or not numbered or int(numbered[1]) >= len(expected):
        return own
    known = expected[int(numbered[1])]
    return known if row.get("prompt", "") in ("", known.prompt) else None


def _manifest_rows(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "manifest.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}
