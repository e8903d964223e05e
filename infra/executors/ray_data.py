"""Precompute under Ray Data, in one of two forms that give the same rows.

fused   one pool: a worker takes the names of a group of clips, decodes, captions, encodes, commits. No
        frame crosses the object store. On CPUs workers live between tasks (see placement.py).
split   three pools: decode on CPUs -> caption and encode on GPUs -> commit. A block between the first two
        is one clip's windows, uint8; between the last two, its moments.

A block is an Arrow table of one column, `item`: a pickled record a row, so that Ray knows its size.
"""

import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from infra.executors.local_cluster import cluster, cluster_beside_imports, quiet_ray_data
from infra.executors.placement import in_actors, in_tasks
from preprocessing.config import PrecomputeConfig
from preprocessing.worker import Committer, Decoder, Encoder, ShardWorker, Work
from syncflow.data.parquet import LedgerRow
from syncflow.errors import UserError
from syncflow.records import ClipRef, StoredClip

Part = Callable[[list[Any]], list[Any]]
MakePart = Callable[[Work], Part]
Takes = dict[str, Any]  # numbers, by Ray's names

# what one worker of each pool takes, by form and by where the models run; the only such table
RESOURCES: dict[tuple[str, str], dict[MakePart, Takes]] = {
    ("fused", "cpu"): {ShardWorker: {"num_cpus": 1}},
    ("fused", "cuda"): {ShardWorker: {"num_cpus": 4, "num_gpus": 1}},
    ("split", "cpu"): {Decoder: {"num_cpus": 1}, Encoder: {"num_cpus": 1}, Committer: {"num_cpus": 0}},
    ("split", "cuda"): {
        Decoder: {"num_cpus": 1},
        Encoder: {"num_cpus": 0, "num_gpus": 1},
        Committer: {"num_cpus": 0},
    },
}
FORM = {"cpu": "fused", "cuda": "fused"}
BATCH: dict[MakePart, int | None] = {ShardWorker: None, Decoder: 1, Encoder: 1}  # clips a call; None: a group
COMMITTERS = 2
BLOCK_BYTES = 128 << 20


class RayExecutor:
    """Runs the work of a job under Ray Data (an `Execute` of `preprocessing.job`)."""

    def __init__(self, config: PrecomputeConfig) -> None:
        self.config = config

    @contextmanager
    def started(self, *, num_cpus: int | None = None) -> Iterator["RayExecutor"]:
        """Itself, with Ray started beside what a job imports; without it Ray starts when there is work.

        Args:
            num_cpus: CPUs of a private Ray; None: those of the machine.
        """
        module, workers = "preprocessing.job", self.config.workers
        with cluster_beside_imports(module, preloaded="ray.data", workers=workers, num_cpus=num_cpus):
            yield self

    def __call__(self, work: Work, groups: list[list[ClipRef | StoredClip]]) -> Iterator[list[LedgerRow]]:
        """What was committed, as it comes."""
        with cluster():
            yield from self._run(work, groups)

    def _run(self, work: Work, groups: list[list[ClipRef | StoredClip]]) -> Iterator[list[LedgerRow]]:
        import ray

        offered: dict[str, float] = ray.cluster_resources()  # type: ignore[assignment]
        device = self._device(offered)
        form = self.config.stages if self.config.stages != "auto" else FORM[device]
        context = quiet_ray_data()
        # split: each clip is a block of its own, so that a lost block is decoded again alone
        context.target_max_block_size = BLOCK_BYTES if form == "fused" else 1
        # one group a block: a worker has all clips of a file, and a small index is more than one task
        dataset = ray.data.from_blocks([_table(group) for group in groups])
        pools = fit_pools(form, device, offered, may_grow=bool(os.environ.get("RAY_ADDRESS")))
        for part, takes in pools.items():
            now = min(_room(part, takes, pools, offered), len(groups))
            most = COMMITTERS if part is Committer else self.config.workers or now
            if form == "fused" and not takes.get("num_gpus"):
                placed = in_tasks(RayWorker, part, work, most=self.config.workers or None)
            else:
                placed = in_actors(RayWorker, part, work, first=now, most=most)
            dataset = dataset.map_batches(
                batch_size=self.config.clips_per_shard if part is Committer else BATCH[part],
                batch_format="pyarrow",
                **placed,
                **takes,
            )
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            rows = records_of(batch)
            for row in rows:
                if isinstance(row, Refusal):
                    raise UserError(row.message)
            yield rows

    def _device(self, offered: dict[str, float]) -> str:
        if self.config.encode.device != "auto":
            return self.config.encode.device
        return "cuda" if offered.get("GPU") else "cpu"


def fit_pools(
    form: str, device: str, offered: Mapping[str, float], *, may_grow: bool
) -> dict[MakePart, Takes]:
    """The pools of a form, with no more CPUs beside a GPU than the cluster has for each.

    Args:
        offered: the cluster's `CPU` and `GPU`.
        may_grow: whether more nodes may come (a cluster that is not our own).

    Raises:
        UserError: one worker of each pool does not fit, and never will: Ray would wait for ever.
    """
    beside_gpu = max(1.0, offered.get("CPU", 0) // max(1.0, offered.get("GPU", 0)))
    pools = {
        part: takes | ({"num_cpus": min(takes["num_cpus"], beside_gpu)} if takes.get("num_gpus") else {})
        for part, takes in RESOURCES[form, device].items()
    }
    for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        needed, there = sum(takes.get(name, 0) for takes in pools.values()), offered.get(resource, 0)
        if needed > there:
            told = f"stages {form}: a worker of each pool takes {needed:g} {resource}, Ray offers {there:g}"
            if not may_grow:
                raise UserError(f"{told}; use --stages fused, --executor loop or a larger cluster")
            print(f"{told} now: waiting for the cluster to grow", flush=True)
    return pools


def _room(
    part: MakePart,
    takes: Takes,
    pools: dict[MakePart, Takes],
    offered: dict[str, float],
) -> int:
    """Workers of a pool that the cluster holds now, one of each other pool left room for; at least 1."""
    rooms = []
    for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        if takes.get(name):
            others = sum(other.get(name, 0) for key, other in pools.items() if key is not part)
            rooms.append((offered.get(resource, 0) - others) / takes[name])
    return max(1, math.floor(min(rooms))) if rooms else 1


@dataclass(frozen=True)
class Refusal:
    """A `UserError` that travels as a value: Ray would wrap it in pages of traces, or lose its type."""

    message: str


class RayWorker:
    """A part of the work behind the tables that Ray Data hands around."""

    def __init__(self, make_part: Callable[[Any], Part], work: Any) -> None:
        if make_part is not Decoder:
            import torch

            if not torch.cuda.is_available():
                torch.set_num_threads(1)  # a worker is given one CPU
        self.part: Part | None = None
        self.refusal = Refusal("")
        try:
            self.part = make_part(work)
        except UserError as error:
            self.refusal = Refusal(str(error))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A result for each record; all of them a `Refusal` if the settings are wrong."""
        records = records_of(batch)
        refused = [record for record in records if isinstance(record, Refusal)]
        if self.part is None or refused:
            return _table((refused or [self.refusal])[:1] * len(records))
        try:
            return _table(self.part(records))
        except UserError as error:
            return _table([Refusal(str(error))] * len(records))


def _table(records: list[Any]) -> pa.Table:
    blobs = [pickle.dumps(record, protocol=pickle.HIGHEST_PROTOCOL) for record in records]
    return pa.table({"item": pa.array(blobs, pa.large_binary())})


def records_of(table: pa.Table) -> list[Any]:
    """The records of a block, which this job's own processes pickled."""
    return [pickle.loads(item.as_buffer()) for item in table.column("item")]
