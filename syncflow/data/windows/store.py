"""Decoded windows of a folder of files, on disk in shards, read through memory maps.

    <store>/store.json        what is in it, written last: kind, shape of a window, shards in their order
            <shard>.bin       windows one after another: frames uint8 `f h w c`, or audio float16 `m`
            <shard>.json      its files: how many windows each gave, or the reason why none

Window i is always the same one: shards are in the order of the folder's sorted file names.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from syncflow.errors import UserError
from syncflow.files import write_whole
from syncflow.records import ClipSpec

Kind = Literal["audio", "video"]
MANIFEST = "store.json"


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """What became of one file."""

    file: str  # below the folder
    windows: int
    reason: str = ""  # of `syncflow.media.Reason`, where no window came of it
    detail: str = ""


def window_layout(kind: Kind, spec: ClipSpec) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of a stored window."""
    if kind == "audio":
        return np.dtype("<f2"), (spec.num_samples,)
    return np.dtype("u1"), (spec.num_frames, spec.height, spec.width, 3)


def window_bytes(kind: Kind, spec: ClipSpec) -> int:
    """Size of a stored window."""
    dtype, shape = window_layout(kind, spec)
    return dtype.itemsize * int(np.prod(shape))


def shard_rows(store: Path, name: str, *, size: int) -> list[FileRow] | None:
    """The rows of a shard that is written whole; None where it is not.

    Args:
        store: folder of the decoded windows.
    """
    try:
        values = json.loads((store / f"{name}.json").read_text(encoding="utf-8"))
        rows = [FileRow(**row) for row in values]
        whole = (store / f"{name}.bin").stat().st_size == size * sum(row.windows for row in rows)
    except (OSError, ValueError, TypeError):
        return None
    return rows if whole else None


def write_manifest(store: Path, shards: Iterable[tuple[str, list[FileRow]]], *, kind: Kind) -> None:
    """End a store: its shards, in the order of the windows, and how many files gave none and why."""
    listed = list(shards)
    reasons = Counter(row.reason for _, rows in listed for row in rows if row.reason)
    values = {
        "kind": kind,
        "files": sum(len(rows) for _, rows in listed),
        "left_out": dict(sorted(reasons.items())),
        "shards": [[name, sum(row.windows for row in rows)] for name, rows in listed],
    }
    write_whole(store / MANIFEST, json.dumps(values, indent=1) + "\n")


class WindowStore:
    """Windows by number, from memory maps that are opened when they are first asked for.

    Raises:
        UserError: no finished store, of another kind, or a shard that was cut.
    """

    def __init__(self, folder: Path, *, kind: Kind, spec: ClipSpec) -> None:
        try:
            values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: no finished windows ({error}); decode them again") from None
        self.folder, self.left_out, self.files = folder, dict(values["left_out"]), int(values["files"])
        self.dtype, self.shape = window_layout(kind, spec)
        self._names = [name for name, count in values["shards"] if count]
        counts = [count for _, count in values["shards"] if count]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, row: int) -> np.ndarray:
        """Frames uint8 `f h w c`, or audio float16 `m`; not a copy."""
        if not 0 <= row < len(self):
            raise IndexError(f"window {row} of {len(self)}")
        shard = int(np.searchsorted(self._ends, row, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        return self._shard(shard)[row - first]

    def origins(self) -> list[tuple[str, int]]:
        """File and number in that file of each window."""
        found = []
        for name in self._names:
            rows = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            found += [(row["file"], number) for row in rows for number in range(row["windows"])]
        return found

    def _shard(self, number: int) -> np.ndarray:
        if number not in self._maps:
            first = int(self._ends[number - 1]) if number else 0
            path = self.folder / f"{self._names[number]}.bin"
            shape = (int(self._ends[number]) - first, *self.shape)
            try:
                self._maps[number] = np.memmap(path, dtype=self.dtype, mode="r", shape=shape)
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: cut or gone ({error}); remove {self.folder}") from None
        return self._maps[number]


def row_values(rows: Iterable[FileRow]) -> list[dict[str, object]]:
    """Rows as JSON takes them."""
    return [asdict(row) for row in rows]
