"""How long videos are, probed a few at a time with a line that says how far it is."""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from rich.progress import track

from syncflow.media import MediaError, probe
from syncflow.storage import Location, local_copy

MOST_BYTES = 4 << 30  # of a remote video
FETCH_S = 600.0

log = logging.getLogger(__name__)


def video_lengths(files: Mapping[str, Location]) -> dict[str, float]:
    """Seconds of each video that can be probed; a warning names the others."""
    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
        found = list(
            track(
                pool.map(_length, files.values()),
                total=len(files),
                description="lengths of videos",
                transient=True,
                disable=not files,
            )
        )
    return {name: seconds for name, seconds in zip(files, found, strict=True) if seconds is not None}


def _length(file: Location) -> float | None:
    try:
        with local_copy(file, max_bytes=MOST_BYTES, timeout_s=FETCH_S) as path:
            return probe(path).duration_s
    except (MediaError, OSError) as error:
        log.warning("%s: %s", file, error)
        return None
