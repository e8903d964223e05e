"""Which tensors a PyTorch file holds, read without PyTorch and without running its pickle.

`torch.save` writes a zip with `<name>/data.pkl`, or, before PyTorch 1.6, five pickles in a row and then the
tensors' bytes. Names are text in these pickles; `pickletools` lists them and executes nothing.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import IO, Sequence  # noqa: UP035  (Python 3.8)

from foreign_exchange import CannotRunError

MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the older format
TEXT = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")


def check_weights(path: Path, *, names: Sequence[str], what: str, remedy: str) -> None:
    """Nothing, if `path` is a PyTorch file with these names in it.

    Args:
        path: the file.
        names: keys and names of tensors, of which each has to be there, or some that begins so where it ends
            with a dot; a leading `module.` does not matter.
        what: whose weights they are.
        remedy: where they come from.

    Raises:
        CannotRunError: it is missing, no PyTorch file, cut off, or has other tensors.
    """
    if not path.is_file():
        raise CannotRunError(f"{path}: not there; {remedy}")
    found = names_in(path, remedy=remedy)
    plain = {name[len("module.") :] if name.startswith("module.") else name for name in found}
    missing = [
        name
        for name in names
        if name not in plain and not (name.endswith(".") and any(each.startswith(name) for each in plain))
    ]
    if missing:
        raise CannotRunError(f"{path}: not the weights of {what}: it has no {missing[0]}; {remedy}")


def names_in(path: Path, *, remedy: str) -> set[str]:
    """All texts in the pickles of a PyTorch file: the keys and the names of its tensors among them.

    Raises:
        CannotRunError: it is no PyTorch file, or cut off.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
                if len(pickles) != 1:
                    raise ValueError("a zip without data.pkl")
                with archive.open(pickles[0]) as stream:
                    return _texts(stream)
        with path.open("rb") as stream:
            head = stream.read(64)
            if head.startswith(b"version https://git-lfs"):
                raise ValueError("a pointer of Git LFS, not the file itself: git lfs pull")
            stream.seek(0)
            if MAGIC not in [value for _, value, _ in pickletools.genops(stream)]:
                raise ValueError(f"begins with {head[:12]!r}")
            _texts(stream)  # version of the format
            _texts(stream)  # of the machine
            return _texts(stream)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, IndexError) as error:
        raise CannotRunError(f"{path}: no whole PyTorch file ({error}); {remedy}") from None


def _texts(stream: IO[bytes]) -> set[str]:
    """Texts of the pickle at which the stream stands."""
    return {str(value) for code, value, _ in pickletools.genops(stream) if code.name in TEXT}
