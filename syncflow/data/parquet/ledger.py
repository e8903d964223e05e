"""The ledger: one row a clip that was ever tried, and the last word on what the dataset holds."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from syncflow.data.parquet.shards import footer_of, open_table, read_table, write_table
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.printable import storable

Kind = Literal["accepted", "rejected", "failed"]
ClipKey = tuple[str, str]  # dataset, clip id


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """What became of one clip, and what it takes to know whether that still holds."""

    dataset: str
    clip_id: str
    kind: Kind
    reason: str  # empty when accepted
    detail: str
    path: str
    source_sha256: str  # empty where there is no such file
    source_bytes: int
    source_mtime_ns: int
    recipe: str  # hash of all that made the rows but the source
    shard: str  # name of the shard in latents/; empty unless accepted
    windows: int
    content_sha256: str  # of the clip's rows, in order
    attempt: int  # the highest of a clip counts
    reproduce: str  # a shell command that runs this clip alone

    @property
    def key(self) -> ClipKey:
        return self.dataset, self.clip_id


_KINDS = {
    "source_bytes": pa.int64(),
    "source_mtime_ns": pa.int64(),
    "windows": pa.int32(),
    "attempt": pa.int32(),
}
LEDGER_SCHEMA = pa.schema(
    [pa.field(f.name, _KINDS.get(f.name, pa.string()), nullable=False) for f in dataclasses.fields(LedgerRow)]
)


def write_ledger(path: Path, rows: Sequence[LedgerRow], *, files: Mapping[str, str]) -> None:
    """Commit a shard: its rows, and the sha256 of the files (relative path -> hash) that they stand for."""
    values = [
        {name: storable(value) if isinstance(value, str) else value for name, value in vars(row).items()}
        for row in rows
    ]
    table = pa.Table.from_pylist(values, schema=LEDGER_SCHEMA)
    write_table(table, path, footer={"files": dict(files)}, rows_per_group=max(1, len(rows)))


def read_ledger(folder: Path) -> dict[ClipKey, LedgerRow]:
    """The last row of each clip in `<dataset>/ledger`; empty when there is none yet.

    Raises:
        UserError: a ledger file is damaged.
    """
    latest: dict[ClipKey, LedgerRow] = {}
    for path in ledger_files(folder):
        for row in read_ledger_file(path):
            old = latest.get(row.key)
            if old is None or (row.attempt, row.shard) > (old.attempt, old.shard):
                latest[row.key] = row
    return latest


def read_ledger_file(path: Path) -> list[LedgerRow]:
    """The rows of one commit.

    Raises:
        UserError: the file is damaged.
    """
    return [LedgerRow(**values) for values in read_table(path, expected=LEDGER_SCHEMA).to_pylist()]


def ledger_files(folder: Path) -> list[Path]:
    """The committed ledger files, in the order of their names."""
    return sorted(folder.glob("[!.]*.parquet"))


def committed_files(folder: Path) -> dict[str, str]:
    """sha256 of every file that the ledger stands for, by its path below the dataset."""
    files: dict[str, str] = {}
    for path in ledger_files(folder):
        with open_table(path, expected=LEDGER_SCHEMA) as file:
            files |= footer_of(file)["files"]
    return files


def ledger_sha256(folder: Path) -> str:
    """One hash of the ledger's own files."""
    return settings_sha256({path.name: file_sha256(path) for path in ledger_files(folder)})


def tally(rows: Iterable[LedgerRow]) -> dict[str, dict[str, int]]:
    """How many clips of each kind, by reason: {"rejected": {"no_audio": 3}, ...}."""
    counts: dict[str, dict[str, int]] = {"accepted": {}, "rejected": {}, "failed": {}}
    for row in rows:
        by_reason = counts[row.kind]
        by_reason[row.reason] = by_reason.get(row.reason, 0) + 1
    return counts
