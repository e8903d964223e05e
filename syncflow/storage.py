"""Files here and files elsewhere: a local `Path`, or a `RemoteFile` behind any fsspec URL.

A `RemoteFile` answers the few calls of a `Path` that reading needs. ffmpeg never sees one: `local_copy`
brings the file here first.
"""

import contextlib
import errno
import os
import posixpath
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from syncflow.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What a listing tells of a file, by the names of `os.stat_result`."""

    st_size: int
    st_mtime_ns: int  # of a store without times: a number made of its entity tag


class RemoteFile:
    """A file or folder behind a URL.

    Args:
        url: as `s3://bucket/folder/a.mp4`.
        info: what a listing said of it, if it was listed.
    """

    def __init__(self, url: str, *, info: Mapping[str, Any] | None = None) -> None:
        self.url, self._info = url.rstrip("/"), info

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemoteFile({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFile, (self.url,)

    def __truediv__(self, name: str) -> "RemoteFile":
        if self.url.startswith(("http://", "https://")):  # there `?` and `#` would end the path
            name = name.replace("?", "%3F").replace("#", "%23")
        return RemoteFile(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return posixpath.basename(self.url)

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1]

    def stat(self) -> FileState:
        """Size and time of change.

        Raises:
            OSError: there is no such file, or its store does not answer.
        """
        info = self._info or self._ask("info")
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "a folder", self.url)
        return FileState(st_size=int(info.get("size") or 0), st_mtime_ns=_mtime_ns(info))

    def is_file(self) -> bool:
        """Whether there is such a file."""
        with contextlib.suppress(OSError):
            return bool(self.stat())
        return False

    def is_dir(self) -> bool:
        """Whether there is such a folder."""
        with contextlib.suppress(OSError):
            return bool(self._ask("isdir"))
        return False

    def open(self, mode: str = "rb") -> IO[bytes]:
        """The file's bytes."""
        assert mode == "rb", mode
        return self._ask("open")

    def read_bytes(self) -> bytes:
        """All of them."""
        with self.open() as stream:
            return stream.read()

    def files_below(self) -> dict[str, "RemoteFile"]:
        """Every file below this folder by its path in it, in order."""
        start = self._filesystem()[1].rstrip("/") + "/"
        found = self._ask("find", detail=True)
        return {
            path.removeprefix(start): RemoteFile(f"{self.url}/{path.removeprefix(start)}", info=found[path])
            for path in sorted(found)
            if path.startswith(start)
        }

    def _filesystem(self) -> tuple[Any, str]:
        from fsspec import get_filesystem_class
        from fsspec.core import split_protocol

        try:  # the address is taken to the letter: `::` or `?` in a name chains nothing and asks for nothing
            kind = get_filesystem_class(split_protocol(self.url)[0])
            return kind(**kind._get_kwargs_from_urls(self.url)), kind._strip_protocol(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"{self.url}: no filesystem for this URL ({' '.join(str(error).split())[:200]}); install its "
                "fsspec package, or copy the files here"
            ) from None

    def _ask(self, call: str, **options: Any) -> Any:
        """A call of the filesystem; whatever its library raises is an OSError with this URL."""
        filesystem, path = self._filesystem()
        try:
            return getattr(filesystem, call)(path, **options)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url) from None
        except Exception as error:  # of botocore, aiohttp, paramiko ...
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise OSError(errno.EIO, told, self.url) from error


Location = Path | RemoteFile


def is_url(text: str) -> bool:
    """Whether a setting names a URL; a single letter is a drive."""
    return bool(_URL.match(text))


def location(text: str) -> Location:
    """A URL as a `RemoteFile`, anything else as an absolute `Path` (`file://` too)."""
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return RemoteFile(text) if is_url(text) else Path(text).absolute()


def inside(path: str, root: Location) -> bool:
    """Whether a path, as `str` of a `Location` gives it, lies below a folder."""
    return path.startswith(f"{str(root).rstrip('/')}/")


@contextlib.contextmanager
def local_copy(file: Location, *, max_bytes: int, timeout_s: float) -> Iterator[Path]:
    """A path of this machine with the file's bytes: its own, or a temporary copy of at most `max_bytes`.

    Raises:
        OSError: it cannot be fetched; EFBIG when it is larger, TimeoutError when it takes longer.
    """
    if isinstance(file, Path):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="syncflow-fetch-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"clip{file.suffix[:10]}"
        _within(timeout_s, lambda: _fetch(file, path, max_bytes), what=file.url)
        yield path


def _fetch(file: RemoteFile, path: Path, max_bytes: int) -> None:
    if file.stat().st_size > max_bytes:
        raise OSError(errno.EFBIG, f"over {max_bytes} bytes", file.url)
    with file.open() as stream, path.open("wb") as out:
        left = max_bytes
        while block := stream.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:  # a store may say any size
                raise OSError(errno.EFBIG, f"over {max_bytes} bytes", file.url)
            out.write(block)


def _within(timeout_s: float, work: Any, *, what: str) -> None:
    """Run `work` apart, and wait so long: a store that hangs cannot be interrupted."""
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise TimeoutError(errno.ETIMEDOUT, f"not fetched within {timeout_s:g} s", what)
    if failure:
        raise failure[0]


def _mtime_ns(info: Mapping[str, Any]) -> int:
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return round(value.timestamp() * 1e9)
        if isinstance(value, (int, float)):
            return round(value * 1e9)
    tag = str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "")
    return int.from_bytes(sha256(tag.encode()).digest()[:7], "big") if tag else 0
