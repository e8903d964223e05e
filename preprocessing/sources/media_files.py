"""Media files under a folder, listed once and in a stable order."""

import os
from collections.abc import Iterator
from pathlib import Path

from syncflow.errors import UserError

SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".wmv", ".ogv", ".3gp")
)


def require_folder(root: Path, *, source: str) -> Path:
    """`root`, absolute.

    Raises:
        UserError: it is missing, or no folder.
    """
    root = root.absolute()
    if not root.is_dir():
        raise UserError(f"{source} root {root}: no such folder; give the folder of the clips")
    return root


def media_files(root: Path) -> Iterator[Path]:
    """Every file with a media suffix under `root`, hidden ones left out, links to folders not followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)
