"""Batches of codes and frame features: windows of a dataset in the same order as the stages see them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from syncflow.data.config import DataFilters
from syncflow.data.index import WindowIndex
from syncflow.data.order import SampleOrder
from syncflow.data.store import GroupCache, Place
from syncflow.errors import UserError
from syncflow.foleygen.table import (
    AGAIN,
    SHARDS,
    CodeReader,
    CodesManifest,
    Key,
    code_schema,
    without_codes,
)
from syncflow.noise import keyed_generator
from syncflow.records import ClipSpec, Split

GIB = 1 << 30
THREADS = 4


@dataclass(frozen=True, kw_only=True)
class CodeBatch:
    """Codes and what they are conditioned on."""

    codes: Tensor  # int64 b k n
    features: Tensor  # float32 b f d
    dropped: Tensor  # bool b: the frames are not told
    index: Tensor  # int64 b: global sample index
    weight: float = 1.0  # samples of the batch, over what they would be if all workers had as many


class CodeDataset:
    """The windows of one split of a dataset that have codes.

    Args:
        folder: the dataset, as precompute_latents.py wrote it.
        codes: its table of codes, as precompute_codes.py wrote it.
        split: which clips.
        filters: thresholds on the dataset's score columns.
        cache_gb: memory for what was read before, GiB.

    Raises:
        UserError: no finished dataset or table, a table of another dataset, or no window is left.
    """

    def __init__(
        self,
        folder: Path,
        *,
        codes: Path,
        split: Split = "train",
        filters: DataFilters = DataFilters(),  # noqa: B008 (frozen)
        cache_gb: float = 1.0,
    ) -> None:
        self.folder, self.codes_folder = folder, codes
        self.index, self.manifest = WindowIndex(folder), CodesManifest.read(codes)
        if self.manifest.dataset_files_sha256 != self.index.manifest.files_sha256:
            raise UserError(f"{codes}: made for another state of {folder}; {AGAIN}")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="codes")
        made = self.manifest
        schema = code_schema((made.num_codebooks, made.num_codes), (made.num_frames, made.feature_dim))
        self._groups = GroupCache(CodeReader(schema), limit_bytes=int(cache_gb * GIB), threads=self._threads)
        self._choose(split, filters)

    def _choose(self, split: Split, filters: DataFilters) -> None:
        rows, absent = self.index.choose(split, filters), without_codes(self.manifest)
        if absent:
            rows = np.array([row for row in rows.tolist() if self._key(row) not in absent], dtype=rows.dtype)
        if not len(rows):
            raise UserError(f"{self.codes_folder}: no window of split {split} has codes; {AGAIN}")
        self.rows, self._order = rows, SampleOrder(self.index.groups(rows))

    def of_split(self, split: Split, *, filters: DataFilters = DataFilters()) -> "CodeDataset":  # noqa: B008
        """Windows of another split, out of the same index, files and memory.

        Raises:
            UserError: no window is left.
        """
        other = CodeDataset.__new__(CodeDataset)
        other.__dict__.update(self.__dict__)
        other._choose(split, filters)
        return other

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def spec(self) -> ClipSpec:
        """The window of every sample."""
        return self.index.manifest.spec

    @property
    def fingerprint(self) -> str:
        """Hash of what made dataset and codes, and of what they hold."""
        return f"{self.manifest.recipe[:32]}{self.manifest.dataset_files_sha256[:32]}"

    def samples(
        self, mine: range, *, among: range, per_step: int, seed: int = 0, drop_probability: float = 0.1
    ) -> CodeBatch:
        """The samples `mine` of a run, as `LatentDataset.samples`.

        Args:
            mine: global sample indices.
            among: of all workers; codes have one length, so it decides nothing here.
            per_step: samples of a step over all workers, by which the order is laid out.
            seed: seed of the run.
            drop_probability: share of clips whose frames are not told.

        Raises:
            UserError: a shard is damaged, or holds another window than the dataset's.
        """
        del among
        rows = self.rows[self._order.rows(mine, per_step=per_step, seed=seed)].tolist()
        places = [self._place(row) for row in rows]
        groups = self._groups.get(place.group for place in places)
        for row, place in zip(rows, places, strict=True):
            if groups[place.group].keys[place.offset] != self._key(row):
                raise UserError(f"{place.path}: row {place.row} is not {self.index.name(row)}; {AGAIN}")
        drawn = [torch.rand((), generator=keyed_generator("frames", seed, g)).item() for g in mine]
        return CodeBatch(
            codes=torch.stack([groups[p.group].codes[p.offset] for p in places]).long(),
            features=torch.stack([groups[p.group].features[p.offset] for p in places]).float(),
            dropped=torch.tensor([value < drop_probability for value in drawn]),
            index=torch.tensor(list(mine), dtype=torch.int64),
        )

    def _place(self, row: int) -> Place:
        latents = self.index.place(row)
        return Place(path=self.codes_folder / SHARDS / latents.path.name, row=latents.row)

    def _key(self, row: int) -> Key:
        cell = self.index.file.table
        dataset, clip, window = (cell.column(name)[row].as_py() for name in ("dataset", "clip_id", "window"))
        return dataset, clip, window
