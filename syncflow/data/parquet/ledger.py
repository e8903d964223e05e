"""The ledger: one row a clip that was tried, and the last word on what the dataset holds.

A job adds a file a commit. Files are never changed; one that takes the place of others names them in its
footer (`replaces`), so that they count no more from the moment it is there.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from syncflow.data.parquet.shards import footer_of, open_table, read_table, write_table
from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.printable import storable
from syncflow.records import ClipRef

Kind = Literal["accepted", "rejected", "failed", "missing", "left"]
ClipKey = tuple[str, str]  # dataset, clip id


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """What became of one clip, and what it takes to know whether that still holds."""

    dataset: str
    clip_id: str
    kind: Kind  # missing: its file cannot be read; left: the source's table names it no more
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
    split: str = ""
    span_key: str = ""  # hash of the part of the file that was asked for
    text_key: str = ""  # hash of what the captions are taken from
    not_renewed: str = ""  # why the file, which has changed since, could not be done again; else empty

    @property
    def key(self) -> ClipKey:
        return self.dataset, self.clip_id


_KINDS = {
    "source_bytes": pa.int64(),
    "source_mtime_ns": pa.int64(),
    "windows": pa.int32(),
    "attempt": pa.int32(),
}
_FIELDS = [
    pa.field(f.name, _KINDS.get(f.name, pa.string()), nullable=False) for f in dataclasses.fields(LedgerRow)
]
LEDGER_SCHEMA = pa.schema(_FIELDS)
_LATER = ("split", "span_key", "text_key", "not_renewed")
FIRST_SCHEMA = pa.schema([field for field in _FIELDS if field.name not in _LATER])
SCHEMAS = (LEDGER_SCHEMA, FIRST_SCHEMA)


BY_TABLE = ("known_bad", "no_caption")  # reasons that the source's tables give, not a file


def span_key(ref: ClipRef) -> str:
    """Hash of which part of the file a clip is."""
    return settings_sha256([ref.start_s, ref.duration_s])


def all_texts(ref: ClipRef) -> list[Any]:
    """Everything that a caption may be taken from."""
    return [ref.label, ref.caption, list(ref.window_captions)]


def text_key(ref: ClipRef, texts_of: Callable[[ClipRef], list[Any]] = all_texts) -> str:
    """Hash of what a clip's captions are taken from."""
    return settings_sha256(texts_of(ref))


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All that the files of a ledger say, read once."""

    files: tuple[Path, ...]  # those that count, by name
    tried: tuple[LedgerRow, ...]  # every row of them, superseded ones too
    committed: dict[str, str]  # sha256 of each file that the ledger stands for, by its path below the dataset
    damaged: dict[Path, str]  # files that cannot be read, and why
    settled: int = -1  # highest attempt of jobs that wrote the ledger anew; later ones are higher

    @classmethod
    def read(
        cls, folder: Path, *, names: Collection[str] | None = None, damaged_too: bool = False
    ) -> "Ledger":
        """The ledger in `<dataset>/ledger`; empty when there is none yet.

        Args:
            folder: the ledger's folder.
            names: only these files, those of a finished dataset; None: all of them.
            damaged_too: tell of files that cannot be read in `damaged`, and leave them out.

        Raises:
            UserError: a ledger file is damaged.
        """
        tables: dict[Path, pa.Table] = {}
        footers: dict[Path, dict[str, Any]] = {}
        damaged: dict[Path, str] = {}
        for path in ledger_files(folder):
            if names is not None and path.name not in names:
                continue
            try:
                with open_table(path, expected=SCHEMAS) as file:
                    footers[path] = footer_of(file)
                tables[path] = read_table(path, expected=SCHEMAS)
            except UserError as error:
                damaged[path] = str(error)
        replaced = {name for footer in footers.values() for name in footer.get("replaces", ())}
        counting = [path for path in tables if path.name not in replaced]
        damaged = {path: told for path, told in damaged.items() if path.name not in replaced}
        if damaged and not damaged_too:
            raise UserError(next(iter(damaged.values())))
        return cls(
            files=tuple(counting),
            tried=tuple(LedgerRow(**row) for path in counting for row in tables[path].to_pylist()),
            committed={k: v for path in counting for k, v in footers[path]["files"].items()},
            damaged=damaged,
            settled=max((footers[path].get("settled", -1) for path in counting), default=-1),
        )

    def rows(self, *, lost: Collection[str] = ()) -> dict[ClipKey, LedgerRow]:
        """The row that stands for each clip.

        Args:
            lost: shards that are there no more: a success in one of them is none.
        """
        standing: dict[ClipKey, LedgerRow] = {}
        for row in sorted(self.tried, key=lambda row: (row.attempt, row.shard)):
            if row.kind != "accepted" or row.shard not in lost:
                standing[row.key] = succeed(standing.get(row.key), row)
        return {key: row for key, row in standing.items() if row.kind != "left"}


def succeed(old: LedgerRow | None, new: LedgerRow) -> LedgerRow:
    """What stands after a later attempt: a changed file that gives no latents, for a fault or by a rule, does
    not take the place of a success; it may be a copy that is under way.

    What the source's tables say does: another part of the file, a list of bad clips, captions taken away.
    """
    if old is None or old.kind != "accepted" or new.kind in ("accepted", "left"):
        return new
    if (old.span_key, old.recipe) != (new.span_key, new.recipe) or new.reason.startswith(BY_TABLE):
        return new
    if new.kind == "missing":
        return old
    size, time = new.source_bytes, new.source_mtime_ns
    state = {"source_bytes": size, "source_mtime_ns": time, "attempt": new.attempt}
    return dataclasses.replace(old, **state, not_renewed=new.reason)


def write_ledger(
    path: Path,
    rows: Sequence[LedgerRow],
    *,
    files: Mapping[str, str],
    replaces: Collection[str] = (),
    settled: int = -1,
) -> None:
    """Commit rows, and the sha256 of the files (relative path -> hash) that they stand for.

    Args:
        replaces: names of the ledger files that count no more once this one is there. Names come again only
            with a higher attempt than `settled`.
        settled: the highest attempt so far.
    """
    values = [
        {name: storable(value) if isinstance(value, str) else value for name, value in vars(row).items()}
        for row in rows
    ]
    table = pa.Table.from_pylist(values, schema=LEDGER_SCHEMA)
    footer: dict[str, Any] = {"files": dict(files)}
    if replaces:
        footer |= {"replaces": sorted(replaces), "settled": settled}
    write_table(table, path, footer=footer, rows_per_group=max(1, len(rows)))


def read_ledger(folder: Path) -> dict[ClipKey, LedgerRow]:
    """The row that stands for each clip in `<dataset>/ledger`; empty when there is none yet.

    Raises:
        UserError: a ledger file is damaged.
    """
    return Ledger.read(folder).rows()


def read_ledger_file(path: Path) -> list[LedgerRow]:
    """The rows of one commit.

    Raises:
        UserError: the file is damaged.
    """
    return [LedgerRow(**values) for values in read_table(path, expected=SCHEMAS).to_pylist()]


def ledger_files(folder: Path) -> list[Path]:
    """The ledger files that are there, replaced ones too, in the order of their names."""
    return sorted(folder.glob("[!.]*.parquet"))


def committed_files(folder: Path) -> dict[str, str]:
    """sha256 of every file that the ledger stands for, by its path below the dataset."""
    return Ledger.read(folder).committed


def ledger_sha256(folder: Path, names: Collection[str] | None = None) -> str:
    """One hash of the ledger's own files: of those named, or of all that are there."""
    paths = ledger_files(folder) if names is None else [folder / name for name in sorted(names)]
    return settings_sha256({path.name: file_sha256(path) if path.is_file() else "missing" for path in paths})


def clips_by_shard(rows: Iterable[LedgerRow]) -> dict[str, list[ClipKey]]:
    """The accepted clips, by the latents shard that holds them."""
    clips: dict[str, list[ClipKey]] = defaultdict(list)
    for row in rows:
        if row.kind == "accepted":
            clips[row.shard].append(row.key)
    return dict(clips)


def tally(rows: Iterable[LedgerRow]) -> dict[str, dict[str, int]]:
    """How many clips of each kind, by reason: {"rejected": {"no_audio": 3}, ...}."""
    counts: dict[str, dict[str, int]] = {"accepted": {}, "rejected": {}, "failed": {}, "missing": {}}
    for row in rows:
        by_reason = counts[row.kind]
        by_reason[row.reason] = by_reason.get(row.reason, 0) + 1
    return counts
