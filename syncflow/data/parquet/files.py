"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from syncflow.errors import UserError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream to a temporary name; when the block ends well it is flushed to the disk and becomes `path`.

    Raises:
        UserError: the disk is full, or the folder cannot be written. The temporary file is gone, and what was
            at `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a full disk or a folder without permission."""
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}); what was there is kept: make room or mend "
        "the folder's permissions, and run the same command again"
    )
