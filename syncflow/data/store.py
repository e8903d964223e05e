"""Random access to the tensors of a dataset, a row group at a time, within a memory budget."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from syncflow.data.parquet.schema import MOMENTS, TEXT_SCHEMA, tensor_column, texts_of
from syncflow.data.parquet.shards import ROWS_PER_GROUP, check_sizes, damaged, open_table, reopen_table
from syncflow.errors import UserError

T = TypeVar("T")
OPEN = 64  # files that stay open
FOOTERS = 4096  # of shards, in memory


class Group(NamedTuple):
    """A row group of a shard."""

    path: Path
    number: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a row lies."""

    path: Path
    row: int

    @property
    def group(self) -> Group:
        return Group(self.path, self.row // ROWS_PER_GROUP)

    @property
    def offset(self) -> int:
        return self.row % ROWS_PER_GROUP


class Shards:
    """Row groups of shards whose footers are parsed once and whose files stay open, for several threads.

    Args:
        expected: the exact columns; None: those of a latents table.
        columns: which are read; None: all.
    """

    def __init__(self, *, expected: pa.Schema | None = None, columns: Iterable[str] | None = None) -> None:
        self.expected, self.columns = expected, None if columns is None else list(columns)
        self._open: OrderedDict[Path, pq.ParquetFile] = OrderedDict()  # not in use at the moment
        self._footers: OrderedDict[Path, pq.FileMetaData] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, group: Group) -> pa.Table:
        """A row group, its pages checked against their checksums.

        Raises:
            UserError: the shard is missing, damaged, or of another kind.
        """
        file = self._take(group.path)
        try:
            if not 0 <= group.number < file.num_row_groups:
                raise UserError(f"{group.path}: no row group {group.number}: not the shard of the index")
            check_sizes(file, [group.number], where=str(group.path))
            return file.read_row_group(group.number, columns=self.columns, use_threads=False)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise damaged(group.path, error) from None
        finally:
            self._give_back(group.path, file)

    def _take(self, path: Path) -> pq.ParquetFile:
        with self._lock:
            if file := self._open.pop(path, None):
                return file
            footer = self._footers.get(path)
            if footer is not None:
                self._footers.move_to_end(path)
        if footer is not None:
            return reopen_table(path, footer)
        file = open_table(path, expected=self.expected)
        with self._lock:
            self._footers[path] = file.metadata
            while len(self._footers) > FOOTERS:
                self._footers.popitem(last=False)
        return file

    def _give_back(self, path: Path, file: pq.ParquetFile) -> None:
        closed = [file]
        with self._lock:
            if path not in self._open:
                self._open[path] = file
                closed = [self._open.popitem(last=False)[1]] if len(self._open) > OPEN else []
        for each in closed:
            each.close()


class GroupCache(Generic[T]):
    """Row groups read last, up to a number of bytes; a dataset that fits is read from the disk once.

    Args:
        read: the content of a row group, and its bytes.
        limit_bytes: of what is kept.
        threads: in which groups are read, several at a time.
    """

    def __init__(
        self, read: Callable[[Group], tuple[T, int]], *, limit_bytes: int, threads: ThreadPoolExecutor
    ) -> None:
        self._read, self._limit, self._used, self._threads = read, limit_bytes, 0, threads
        self._groups: OrderedDict[Group, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, groups: Iterable[Group]) -> dict[Group, T]:
        """The contents of row groups; those that are not here are read side by side."""
        wanted = list(dict.fromkeys(groups))
        found: dict[Group, T] = {}
        with self._lock:
            for group in wanted:
                if group in self._groups:
                    self._groups.move_to_end(group)
                    found[group] = self._groups[group][0]
        absent = [group for group in wanted if group not in found]
        for group, (value, size) in zip(absent, self._threads.map(self._read, absent), strict=True):
            found[group] = value
            self._keep(group, value, size)
        return found

    def _keep(self, group: Group, value: T, size: int) -> None:
        with self._lock:
            if group not in self._groups:
                self._groups[group] = value, size
                self._used += size
            while self._used > self._limit and len(self._groups) > 1:
                self._used -= self._groups.popitem(last=False)[1][1]


class MomentReader:
    """The four moments of the windows of a row group, float16 `8 ...` each by its name, and their bytes."""

    def __init__(self) -> None:
        self.shards = Shards(columns=MOMENTS)

    def __call__(self, group: Group) -> tuple[dict[str, torch.Tensor], int]:
        table = self.shards.read(group)
        tensors = {name: torch.from_numpy(tensor_column(table, name).copy()) for name in MOMENTS}
        return tensors, sum(tensor.nbytes for tensor in tensors.values())


class TokenReader:
    """The embeddings of the captions of a row group, float16 `l e` each, and their bytes."""

    def __init__(self) -> None:
        self.shards = Shards(expected=TEXT_SCHEMA)

    def __call__(self, group: Group) -> tuple[list[np.ndarray], int]:
        tokens = [text.tokens for text in texts_of(self.shards.read(group), where=str(group.path))]
        return tokens, sum(2 * math.prod(array.shape) for array in tokens)
