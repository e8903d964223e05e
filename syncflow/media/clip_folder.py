"""A folder of clips as datasets ship them: media files, lists of ids by split, captions by id.

    <id>.mp4, <id>_denoised.mp4   the clips
    train.txt, test.txt           one id a line
    captions.csv                  columns clip_id and caption

Ids are compared whole: one that begins with another is another clip.
"""

import csv
from pathlib import Path

from syncflow.errors import UserError
from syncflow.media.suffixes import has_video_suffix

MANIFEST = "manifest.csv"  # of generated clips
VARIANT = "_denoised"  # Greatest Hits names its files <id>_denoised.mp4


def clip_id(path: Path) -> str:
    """The id of the clip in a media file."""
    return path.stem.removesuffix(VARIANT)


def media_files(folder: Path) -> list[Path]:
    """The media files in `folder` and the folders in it, by path; hidden ones are left out."""
    found = (p for p in folder.rglob("*") if has_video_suffix(p.name) and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def manifest_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the folder's `manifest.csv`, as generate.py writes it; none where there is no such file.

    Raises:
        UserError: it cannot be read, has no column `file`, or has a row without a file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [{name: row[name] or "" for name in row if name} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a UTF-8 table ({error})") from None
    if rows and "file" not in rows[0]:
        raise UserError(f"{path}: no column 'file'; give a folder that generate.py wrote")
    for number, row in enumerate(rows, start=1):
        if not row["file"]:
            raise UserError(
                f"{path}: row {number} names no file; generate the clips again, or remove the row"
            )
    return rows


def ids_of_split(folder: Path, split: str) -> list[str]:
    """The ids of `<split>.txt` in their order, each once.

    Raises:
        UserError: there is no such list, it cannot be read, or it is empty.
    """
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise UserError(
            f"split {split}: {folder} has no {split}.txt; write one with a clip id a line, or use --split all"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise UserError(f"split {split}: {path} lists no clip; use --split all, or fill it in")
    return ids


def clips_of_split(folder: Path, split: str) -> list[Path]:
    """The media files of `folder`, or those of the clips that `<split>.txt` lists, by name.

    A listed clip without a file is given as `<id>.mp4`, so that whoever reads it counts it as missing.

    Raises:
        UserError: as `ids_of_split`.
    """
    files = media_files(folder)
    if split == "all":
        return files
    ids = set(ids_of_split(folder, split))
    present = [path for path in files if clip_id(path) in ids]
    missing = ids - {clip_id(path) for path in present}
    return sorted([*present, *(folder / f"{name}.mp4" for name in missing)])


def captions_by_id(folder: Path) -> dict[str, str]:
    """Captions by clip id, of `captions.csv`; none where there is no such file.

    Raises:
        UserError: a table that cannot be read, lacks a column, or names none of the clips that are there.
    """
    path = folder / "captions.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in ("clip_id", "caption") if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path}: no column {missing[0]!r}; its first line must name clip_id, caption"
                )
            captions = {row["clip_id"]: row["caption"] or "" for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a UTF-8 table ({error})") from None
    ids = [clip_id(file) for file in media_files(folder)]
    if ids and captions.keys().isdisjoint(ids):
        raise UserError(
            f"{path}: none of {len(captions)} captions is of a clip there, whose ids are as {ids[0]!r}: a "
            "file's name without suffix; name them so"
        )
    return captions


def distinct_names(folders: list[Path]) -> list[str]:
    """A name for each folder: its last part, and as many of those above as tell it from the others.

    Raises:
        UserError: one folder is given twice.
    """
    whole = [folder.expanduser().resolve() for folder in folders]
    for folder in whole:
        if whole.count(folder) > 1:
            raise UserError(f"clips {folder}: given twice; give each folder once")

    def tail(folder: Path, parts: int) -> str:
        return "/".join(folder.parts[-parts:]).lstrip("/")

    names = []
    for folder in whole:
        parts = 1
        while any(tail(folder, parts) == tail(other, parts) for other in whole if other != folder):
            parts += 1
        names.append(tail(folder, parts))
    return names
