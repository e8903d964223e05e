"""Media files under a folder, here or behind a URL, listed once and in a stable order."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from syncflow.errors import UserError
from syncflow.media.suffixes import has_video_suffix
from syncflow.storage import Location, RemoteFile, location


def require_folder(root: str, *, source: str) -> Location:
    """The folder that a setting names, absolute.

    Raises:
        UserError: it is missing, or no folder.
    """
    folder = location(root)
    if not folder.is_dir():
        raise UserError(f"{source} root {folder}: no such folder; give the folder of the clips")
    return folder


def media_files(root: Location) -> Iterator[tuple[str, Location]]:
    """Path under `root` and place of every file with a media suffix; hidden ones are left out, and links to
    folders are not followed.
    """
    if isinstance(root, RemoteFile):
        for name, file in root.files_below().items():
            parts = PurePosixPath(name).parts
            if has_video_suffix(PurePosixPath(name).name) and not any(p.startswith(".") for p in parts):
                yield name, file
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and has_video_suffix(name):
                path = Path(folder, name)
                yield path.relative_to(root).as_posix(), path
