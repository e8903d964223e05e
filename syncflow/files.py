"""Files that are there whole or not at all, and JSON read back from them."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from syncflow.errors import UserError

NAME_BYTES = 100  # of a file's name that its temporary name keeps: names have 255 bytes at most


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; when the block ends well, that file becomes `path`.

    However the block ends, the temporary file is gone; after an error what was at `path` is as it was.
    """
    name = os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])
    temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with the line ends that it has, whole; or what is there stays."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream that becomes the file at `path`, flushed to the disk, when the block ends well.

    Raises:
        UserError: the disk is full, or the folder cannot be written. The temporary file is gone, and what was
            at `path` is as it was.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise cannot_write(path, error) from None


def require_writable(folder: Path, *, make: bool = True) -> None:
    """See that files can be written in the folder.

    Args:
        folder: of an output.
        make: make it where there is none; else the nearest one above it is looked at, and nothing is made.

    Raises:
        UserError: they cannot.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        place = next((each for each in (folder, *folder.absolute().parents) if each.exists()), folder)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _in_the_way(folder, folder) or cannot_write(folder, error) from None


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a file in the place of a folder, a full disk or a folder without permission."""
    return _in_the_way(path, path.parent) or UserError(
        f"{path}: cannot be written ({error.strerror or error}); what was there is kept: make room or mend "
        "the folder's permissions, and run the same command again"
    )


def _in_the_way(path: Path, folder: Path) -> UserError | None:
    file = next((place for place in (folder, *folder.parents) if place.is_file()), None)
    return UserError(f"{path}: cannot be written, for {file} is a file; give a folder") if file else None


def read_json(path: Path, *, absent: str, damaged: str) -> dict[str, Any]:
    """The mapping in a JSON file.

    Args:
        path: the file.
        absent: what to do where it is not there, for the message.
        damaged: what to do where it is no such file.

    Raises:
        UserError: for anything else there.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not there; {absent}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {damaged}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping; {damaged}")
    return values
