"""Files of a source as they are now, each looked at once, however many clips lie in it."""

from pathlib import Path

from syncflow.data.parquet.writer import Source
from syncflow.hashing import file_sha256
from syncflow.storage import Location


class SourceStates:
    """Size, time and hash of files; what cannot be read now is away, whatever the reason."""

    def __init__(self) -> None:
        self._states: dict[str, Source | None] = {}
        self._hashes: dict[str, str] = {}

    def of(self, path: Location) -> Source:
        """Size and time of a file that is not away."""
        found = self._look(path)
        assert found is not None, path
        return found

    def is_away(self, path: Location) -> bool:
        """Whether there is no such regular file, or its disk or store does not answer."""
        return self._look(path) is None

    def is_readable(self, path: Location) -> bool:
        """Whether a local file can be opened and read; of a remote one, whether it is listed."""
        try:
            if isinstance(path, Path):
                with path.open("rb") as stream:
                    stream.read(1)
        except (OSError, ValueError):
            return False
        return not self.is_away(path)

    def sha256(self, path: Location) -> str:
        """Hash of a local file's bytes; empty for a remote one, which is not fetched for it."""
        name = str(path)
        if name not in self._hashes:
            try:
                self._hashes[name] = file_sha256(path) if isinstance(path, Path) else ""
            except (OSError, ValueError):
                self._hashes[name] = ""
        return self._hashes[name]

    def _look(self, path: Location) -> Source | None:
        name = str(path)
        if name not in self._states:
            try:
                status = path.stat() if path.is_file() else None
            except (OSError, ValueError):
                status = None
            found = status and Source(bytes=status.st_size, mtime_ns=status.st_mtime_ns)
            self._states[name] = found or None
        return self._states[name]
