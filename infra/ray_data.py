"""Precompute under Ray Data: one fused stage of workers that write their own shards.

No frame crosses the object store: a worker takes the names of a group of clips, decodes, captions,
encodes, commits, and gives back the ledger rows.
"""

import dataclasses
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.local_cluster import cluster
from preprocessing.config import PrecomputeConfig
from preprocessing.job import MakeWorker
from preprocessing.worker import ShardWorker
from syncflow.data.parquet import LedgerRow
from syncflow.errors import UserError
from syncflow.records import ClipRef

# what one worker of the fused stage takes, by where its models run; the only such table
RESOURCES: dict[str, dict[str, float]] = {
    "cpu": {"num_cpus": 1},
    "cuda": {"num_cpus": 4, "num_gpus": 1},
}


class RayExecutor:
    """Runs the workers of a job under Ray Data (an `Execute` of `preprocessing.job`)."""

    def __init__(self, config: PrecomputeConfig) -> None:
        self.config = config

    def __call__(self, make_worker: MakeWorker, groups: list[list[ClipRef]]) -> Iterator[list[LedgerRow]]:
        """What each group's worker committed, as it comes."""
        with cluster():
            yield from self._run(make_worker, groups)

    def _run(self, make_worker: MakeWorker, groups: list[list[ClipRef]]) -> Iterator[list[LedgerRow]]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own line says how it goes
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        device = self._device()
        offered = ray.cluster_resources()
        slots = int(offered.get("GPU", 0)) if device == "cuda" else int(offered.get("CPU", 1))
        most = max(1, min(self.config.workers or slots, len(groups)))
        least = most if self.config.workers else 1
        items = [{"group": [_to_item(ref) for ref in group]} for group in groups]
        # one group a block, or a small index would be one task
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            RayWorker,
            fn_constructor_args=(make_worker,),
            batch_size=1,
            compute=ActorPoolStrategy(min_size=least, max_size=most),
            **RESOURCES[device],
        )
        for row in dataset.iter_rows():
            if row["refusal"]:
                raise UserError(row["refusal"])
            yield [LedgerRow(**values) for values in row["rows"]]

    def _device(self) -> str:
        import ray

        if self.config.encode.device != "auto":
            return self.config.encode.device
        return "cuda" if ray.cluster_resources().get("GPU") else "cpu"


class RayWorker:
    """A `ShardWorker` behind the tables that Ray Data hands around.

    A `UserError` travels as a value: Ray would wrap it in pages of traces, or lose its type.
    """

    def __init__(self, make_worker: MakeWorker) -> None:
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(1)  # a worker is given one CPU
        self.worker: ShardWorker | None = None
        self.refusal = ""
        try:
            self.worker = make_worker()
        except UserError as error:
            self.refusal = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A table of one group of clips -> a table of its ledger rows, or of what was refused."""
        (group,) = batch["group"]
        rows: list[LedgerRow] = []
        if self.worker is not None and not self.refusal:
            try:
                rows = self.worker([_from_item(item) for item in group])
            except UserError as error:
                self.refusal = str(error)
        return {"rows": [[dataclasses.asdict(row) for row in rows]], "refusal": [self.refusal]}


def _to_item(ref: ClipRef) -> dict[str, Any]:
    return {**dataclasses.asdict(ref), "path": str(ref.path)}


def _from_item(item: dict[str, Any]) -> ClipRef:
    return ClipRef(**{**item, "path": Path(item["path"])})


def refuse_relative_paths(config: PrecomputeConfig) -> None:
    """A job's driver runs in an unpacked copy of the working directory, which is thrown away.

    Raises:
        UserError: under `ray job submit`, a relative source or output.
    """
    if not os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return
    for name, path in (("source.root", config.source.root), ("output", config.output)):
        if not path.is_absolute():
            raise UserError(
                f"--{name} {path}: relative, and a Ray job runs in a copy of the working directory; give an "
                "absolute path that all nodes see"
            )
