"""A media file that is here: fetched, probed and hashed once for all of its clips."""

import weakref
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from preprocessing.decode_config import DecodeConfig
from syncflow.hashing import file_sha256
from syncflow.media import Limits, MediaError, MediaInfo, probe
from syncflow.storage import Location, local_copy


class OpenedSource:
    """What is known of a file; each question is asked of the file once.

    Args:
        place: where it lies.
        path: the file itself, or the copy that was fetched.
    """

    def __init__(self, place: Location, path: Path, *, timeout_s: float, limits: Limits) -> None:
        self.place, self.path = place, path
        self._timeout_s, self._limits = timeout_s, limits
        self._fault: MediaError | None = None

    @cached_property
    def info(self) -> MediaInfo:
        """What `probe` says.

        Raises:
            MediaError: as `probe`; the same one each time.
        """
        if self._fault is not None:
            raise self._fault
        try:
            return probe(self.path, timeout_s=self._timeout_s, limits=self._limits)
        except MediaError as error:
            self._fault = error
            raise

    @cached_property
    def sha256(self) -> str:
        """Hash of the bytes; empty where they cannot be read."""
        try:
            return file_sha256(self.path) if self.path.is_file() else ""
        except (OSError, ValueError):
            return ""


class SourceOpener:
    """Keeps the file that was opened last, for its next clip.

    Args:
        config: what fetching and probing may cost.
        limits: caps on what a file may hold.
    """

    def __init__(self, config: DecodeConfig, limits: Limits) -> None:
        self.config, self.limits = config, limits
        self._held = ExitStack()
        self._source: OpenedSource | None = None
        self._state: tuple[int, int] | None = None
        weakref.finalize(self, self._held.close)

    def open(self, place: Location) -> OpenedSource:
        """The file at `place`.

        Raises:
            OSError: it cannot be fetched; EFBIG when it is larger than allowed, TimeoutError when that takes
                longer.
        """
        state = _state(place) if isinstance(place, Path) else None  # a file here may change meanwhile
        if self._source is None or (self._source.place, self._state) != (place, state):
            self._source = None
            self._held.close()
            most, within = self.config.max_fetch_mib << 20, self.config.fetch_timeout_s
            path = self._held.enter_context(local_copy(place, max_bytes=most, timeout_s=within))
            self._source = OpenedSource(place, path, timeout_s=self.config.timeout_s, limits=self.limits)
            self._state = state
        return self._source


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
