"""Media files under a folder, here or behind a URL, listed once and in a stable order."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

from preprocessing.sources.passed_over import PassedOver
from syncflow.errors import UserError
from syncflow.media.suffixes import has_video_suffix
from syncflow.places import not_a_folder
from syncflow.storage import Location, RemoteFile, location

K = TypeVar("K")


def require_folder(root: str, *, source: str) -> Location:
    """The folder that a setting names, absolute.

    Raises:
        UserError: it is missing, or no folder.
    """
    folder = location(root)
    if not folder.is_dir():
        raise UserError(f"{source} root {folder}: {not_a_folder(root)}; give the folder of the clips")
    return folder


def media_files(root: Location, passed_over: PassedOver) -> Iterator[tuple[str, Location]]:
    """Path under `root` and place of every file with a video suffix.

    Hidden files and folders, other suffixes, links to folders (which may lead in a circle) and folders that
    cannot be read are passed over.
    """
    for name, file in (
        _remote(root, passed_over) if isinstance(root, RemoteFile) else _local(root, passed_over)
    ):
        if PurePosixPath(name).name.startswith("."):
            passed_over.add("hidden files", name)
        elif not has_video_suffix(PurePosixPath(name).name):
            passed_over.add("no video suffix", name, detail=PurePosixPath(name).suffix.lower() or "none")
        else:
            yield name, file


def _remote(root: RemoteFile, passed_over: PassedOver) -> Iterator[tuple[str, Location]]:
    for name, file in root.files_below().items():
        if any(part.startswith(".") for part in PurePosixPath(name).parts[:-1]):
            passed_over.add("files in hidden folders", name)
        else:
            yield name, file


def _local(root: Path, passed_over: PassedOver) -> Iterator[tuple[str, Location]]:
    def unreadable(error: OSError) -> None:
        name = os.path.relpath(str(error.filename), root)
        passed_over.add("folders that cannot be read", name, detail=error.strerror or "")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        below = Path(folder).relative_to(root)
        for name in folders:
            if name.startswith("."):
                passed_over.add("hidden folders", (below / name).as_posix())
            elif Path(folder, name).is_symlink():
                told = "links to folders (list their files in a table, or give the folder itself)"
                passed_over.add(told, (below / name).as_posix())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            yield (below / name).as_posix(), Path(folder, name)


def one_per_clip(
    files: Iterable[tuple[str, Location]], key_of: Callable[[str], K | None], passed_over: PassedOver
) -> dict[K, tuple[str, Location]]:
    """Name and place of the one file that is taken for each clip.

    Where several have the name of one clip (in subfolders, or of other suffixes), it is the one in the
    fewest subfolders, and of these the first in order of name: `.mp4` before `.webm`.

    Args:
        key_of: the clip that a file's name tells of; None where it tells of none.
    """
    found: dict[K, tuple[str, Location]] = {}
    for name, file in sorted(files, key=lambda entry: (entry[0].count("/"), entry[0])):
        key = key_of(file.name)
        if key is None:
            passed_over.add("no clip's name", name)
        elif key in found:
            passed_over.add("another file of the same clip is taken", name)
        else:
            found[key] = name, file
    return found
