"""Random access to the tensors of a dataset, a row group at a time, within a memory budget."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from syncflow.data.parquet.schema import MOMENTS, TEXT_SCHEMA, tensor_column, texts_of
from syncflow.data.parquet.shards import ROWS_PER_GROUP, read_table

T = TypeVar("T")
Group = tuple[Path, int]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a row lies."""

    path: Path
    row: int

    @property
    def group(self) -> Group:
        return self.path, self.row // ROWS_PER_GROUP

    @property
    def offset(self) -> int:
        return self.row % ROWS_PER_GROUP


class GroupCache(Generic[T]):
    """Row groups read last, up to a number of bytes; a dataset that fits is read from the disk once."""

    def __init__(self, read: Callable[[Group], tuple[T, int]], *, limit_bytes: int) -> None:
        self._read, self._limit, self._used = read, limit_bytes, 0
        self._groups: OrderedDict[Group, tuple[T, int]] = OrderedDict()

    def get(self, group: Group) -> T:
        """The content of a row group."""
        if group in self._groups:
            self._groups.move_to_end(group)
            return self._groups[group][0]
        value, size = self._read(group)
        self._groups[group] = value, size
        self._used += size
        while self._used > self._limit and len(self._groups) > 1:
            self._used -= self._groups.popitem(last=False)[1][1]
        return value


def read_moments(group: Group) -> tuple[dict[str, np.ndarray], int]:
    """The four moments of the windows of a row group, and their bytes."""
    table = read_table(group[0], columns=MOMENTS, groups=[group[1]])
    tensors = {name: tensor_column(table, name) for name in MOMENTS}
    return tensors, sum(tensor.nbytes for tensor in tensors.values())


def read_tokens(group: Group) -> tuple[list[np.ndarray], int]:
    """The embeddings of the captions of a row group, and their bytes."""
    table = read_table(group[0], expected=TEXT_SCHEMA, groups=[group[1]])
    tokens = [text.tokens for text in texts_of(table, where=str(group[0]))]
    return tokens, sum(2 * math.prod(array.shape) for array in tokens)
