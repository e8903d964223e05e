"""Which clips are compared: the real ones, and each system's under the ids that they are compared by."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.media.clip_folder import captions_by_id, clip_id, clips_of_split, manifest_rows
from syncflow.media.evaluation_set import ClipFile
from syncflow.places import not_a_folder

NUMBERED = re.compile(r"(\d{5,})-(\d+)\.\w+")  # what generate.py calls its clips: row and copy


@dataclass(frozen=True, kw_only=True)
class System:
    """What makes one column of the table: every clip that is expected of it, and clips that are not."""

    name: str
    clips: tuple[ClipFile, ...]
    extra: tuple[str, ...] = ()  # media files in its folder that nothing asked for


def reference_clips(folder: Path, *, split: str) -> list[ClipFile]:
    """The real clips of a folder, with their captions.

    Raises:
        UserError: no such folder, no clips in it, or two of one id.
    """
    if not folder.is_dir():
        raise UserError(f"reference {folder}: {not_a_folder(folder)}; give one of real clips")
    captions = captions_by_id(folder)
    found: dict[str, ClipFile] = {}
    for path in clips_of_split(folder, split):
        own = clip_id(path)
        if own in found:
            both = " and ".join(str(each.relative_to(folder)) for each in (found[own].path, path))
            raise UserError(
                f"reference {folder}: two files have the id {own!r}: {both}; each clip counts once: keep one "
                "of them there, or rename one"
            )
        found[own] = ClipFile(id=own, path=path, prompt=captions.get(own, ""))
    if not found:
        raise UserError(f"reference {folder}: no clips in it; give a folder of real clips")
    return list(found.values())


def system_of(name: str, folder: Path, files: Sequence[Path], expected: Sequence[ClipFile] | None) -> System:
    """A folder's clips under the ids that they are compared by.

    A clip of an evaluation set is found by the id in its manifest (generate.py --evaluation-set), else by the
    id of its video or of its own file, else by its number: `00012-0` was made for row 12. What none of these
    finds, or finds a second time, is a clip that nothing asked for.

    Args:
        files: the clips that the folder should hold.
        expected: the rows of an evaluation set.
    """
    rows = {row["file"]: row for row in manifest_rows(folder)}
    captions: Mapping[str, str] = {}
    if not rows:  # a folder of real clips; another tool's table gives no prompts
        with contextlib.suppress(UserError):
            captions = captions_by_id(folder)
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
            if own in clips:  # one more clip for the same video, or of the same name in another folder
                own = f"{own}#{file.stem}"
            more = (own, *(f"{own}#{number}" for number in range(2, len(files) + 2)))
            own = next(name for name in more if name not in clips)
            clips[own] = ClipFile(id=own, path=file, prompt=row.get("prompt", captions.get(own, "")))
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
