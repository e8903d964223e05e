"""Which windows a dataset offers: its index as columns, a split of it, and filters on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncflow.data.config import DataFilters
from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.index_file import IndexFile, read_index
from syncflow.data.parquet.ledger import ledger_sha256
from syncflow.data.parquet.schema import SCORE
from syncflow.data.parquet.shards import ROWS_PER_GROUP
from syncflow.data.store import Place
from syncflow.errors import UserError
from syncflow.hashing import caption_key

IN_MEMORY = (
    *("dataset", "clip_id", "window", "split", "caption_source"),
    *("shard", "row", "text_shard", "text_row", "text_tokens"),
)


@dataclass(frozen=True, kw_only=True)
class WindowEntry:
    """One window: what the filters look at, and where its latents lie."""

    dataset: str
    clip_id: str
    window: int
    split: str
    caption: str
    caption_source: str
    scores: dict[str, float]
    place: Place

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.clip_id} window {self.window}"


class WindowIndex(Sequence[WindowEntry]):
    """All windows of a dataset as columns, sorted by (dataset, clip, window): 150 bytes a window, about.

    Raises:
        UserError: no finished dataset, a ledger or an index that is missing, damaged or another dataset's, or
            a shard is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.manifest = DatasetManifest.read(self.folder)
        self.file = self._read(IN_MEMORY)
        table = self.file.table
        self.rows = table.column("row").to_numpy()  # in its shard
        self.text_rows = table.column("text_row").to_numpy()
        self.text_tokens = table.column("text_tokens").to_numpy()  # length of the caption's embedding
        self.shards, self.shard_names = _codes(table, "shard")
        self.text_shards, self.text_shard_names = _codes(table, "text_shard")
        self.splits, self.split_names = _codes(table, "split")
        self.caption_sources, self.caption_source_names = _codes(table, "caption_source")
        self._check_files()

    def __len__(self) -> int:
        return self.file.table.num_rows

    @overload
    def __getitem__(self, row: int) -> WindowEntry: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[WindowEntry]: ...
    def __getitem__(self, row: int | slice) -> WindowEntry | Sequence[WindowEntry]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        return WindowEntry(
            dataset=self._cell("dataset", row),
            clip_id=self._cell("clip_id", row),
            window=self._cell("window", row),
            split=self._cell("split", row),
            caption=self.captions[row].as_py(),
            caption_source=self._cell("caption_source", row),
            scores={name: float(self.score(name)[row]) for name in self.file.scores},
            place=self.place(row),
        )

    def __iter__(self) -> Iterator[WindowEntry]:
        return (self[row] for row in range(len(self)))

    def name(self, row: int) -> str:
        """As messages call a window."""
        return f"{self._cell('dataset', row)}/{self._cell('clip_id', row)} window {self._cell('window', row)}"

    def score(self, name: str) -> np.ndarray:
        """A score of every window, by its name without `score_`."""
        return self.file.table.column(SCORE + name).to_numpy()

    def place(self, row: int) -> Place:
        """Where the latents of a window lie."""
        return Place(
            path=self.folder / "latents" / self.shard_names[self.shards[row]], row=int(self.rows[row])
        )

    def text_place(self, row: int) -> Place:
        """Where the tokens of a window's caption lie."""
        name = self.text_shard_names[self.text_shards[row]]
        return Place(path=self.folder / "text" / name, row=int(self.text_rows[row]))

    @cached_property
    def captions(self) -> pa.ChunkedArray:
        """The caption of every window; read when it is first asked for."""
        return self._read(("caption",)).table.column("caption")

    def clips(self, rows: np.ndarray) -> int:
        """How many clips these windows are of."""
        table = self.file.table.select(["dataset", "clip_id"]).take(pa.array(rows))
        return table.group_by(["dataset", "clip_id"]).aggregate([]).num_rows

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """Number of the row group of each of these windows: from 0 on, in the order in which they come."""
        place = self.shards[rows].astype(np.int64) << 32 | self.rows[rows] // ROWS_PER_GROUP
        _, first, group = np.unique(place, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[group]

    def choose(self, split: str, filters: DataFilters) -> np.ndarray:
        """Rows of the windows of a split that pass the filters.

        Raises:
            UserError: a score or a caption source is unknown, or nothing is left.
        """
        valid = sorted(self.file.scores)
        for name in (*filters.min_scores, *filters.max_scores):
            if name not in valid:
                raise UserError(f"filters: no score {name!r} in this dataset; it has {', '.join(valid)}")
        sources = sorted(self.caption_source_names)
        for name in filters.caption_sources:
            if name not in sources:
                raise UserError(
                    f"filters: no caption of source {name!r} in this dataset; it has {', '.join(sources)}"
                )
        passes = self._is(self.splits, self.split_names, (split,))
        for name, least in filters.min_scores.items():
            passes &= self.score(name) >= least
        for name, most in filters.max_scores.items():
            passes &= self.score(name) <= most
        if filters.require_caption:
            keys = self._read(("caption_key",)).table.column("caption_key")
            passes &= pc.not_equal(keys, caption_key("")).to_numpy()  # type: ignore[attr-defined]
        if filters.caption_sources:
            passes &= self._is(self.caption_sources, self.caption_source_names, filters.caption_sources)
        if not passes.any():
            raise UserError(
                f"dataset: no window of split {split!r} passes the filters ({len(self)} windows, splits "
                f"{', '.join(sorted(self.split_names))}); loosen them or precompute more clips"
            )
        return np.flatnonzero(passes)

    def _is(self, codes: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
        return np.isin(codes, [number for number, name in enumerate(names) if name in wanted])

    def _cell(self, name: str, row: int):
        return self.file.table.column(name)[row].as_py()

    def _read(self, columns: Sequence[str]) -> IndexFile:
        manifest = self.manifest
        return read_index(
            self.folder,
            files_sha256=manifest.files_sha256,
            sha256=manifest.index_sha256,
            windows=manifest.windows,
            columns=columns,
        )

    def _check_files(self) -> None:
        """Refuse another ledger than the manifest's, and a lack of shards before training comes to one."""
        ledger = self.folder / "ledger"
        if ledger_sha256(ledger, self.manifest.ledger_files) != self.manifest.ledger_sha256:
            raise UserError(
                f"{ledger}: damaged, or not the one that dataset.json was written for; run "
                "precompute_latents.py again"
            )
        for room, names in (("latents", self.shard_names), ("text", self.text_shard_names)):
            there = {path.name for path in (self.folder / room).glob("*.parquet")}
            if lost := sorted(set(names) - there):
                raise UserError(
                    f"{self.folder / room}: {len(lost)} of {len(names)} shards are missing, first {lost[0]}; "
                    "run precompute_latents.py again"
                )


def _codes(table: pa.Table, name: str) -> tuple[np.ndarray, list[str]]:
    """A column of few distinct values: number of the value of each row, and the values."""
    column = table.column(name).unify_dictionaries().combine_chunks()
    return column.indices.to_numpy(), column.dictionary.to_pylist()
