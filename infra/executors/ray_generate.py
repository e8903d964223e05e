"""Generation under Ray Data: one pool of workers, a pipeline each, that write the files of whole batches.

A batch is the unit of work, and its clips are fixed before anything runs; so the clips are the same, bit
for bit, with any number of workers of one kind. No frame crosses the object store.
"""

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from infra.executors.local_cluster import cluster
from infra.executors.ray_data import RayWorker, Refusal, records_of
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.plan import Batch, Done
from syncflow.generation.run import MakeWorker
from syncflow.generation.worker import Report

# what one worker takes, by where its models run
RESOURCES: dict[str, dict[str, float]] = {"cpu": {"num_cpus": 1}, "cuda": {"num_cpus": 1, "num_gpus": 1}}


class RayGeneration:
    """Runs the batches of a run under Ray Data (an `Execute` of `syncflow.generation.run`)."""

    def __init__(self, config: GenerateConfig) -> None:
        self.config = config

    def __call__(self, make_worker: MakeWorker, batches: Sequence[Batch], report: Report) -> Iterator[Done]:
        """What became of each batch, as it comes.

        Args:
            report: called with the share of a batch that is done.
        """
        with cluster():
            yield from self._run(make_worker, batches)

    def _run(self, make_worker: MakeWorker, batches: Sequence[Batch]) -> Iterator[Done]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own line says how it goes
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        offered: dict[str, float] = ray.cluster_resources()  # type: ignore[assignment]
        device = self._device(offered)
        slots = int(offered.get("GPU", 0) if device == "cuda" else offered.get("CPU", 1))
        workers = max(1, min(self.config.workers or slots, len(batches)))
        items = [pickle.dumps(batch) for batch in batches]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            RayWorker,
            fn_constructor_args=(BatchPart, make_worker),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=workers, initial_size=min(workers, max(1, slots))),
            **RESOURCES[device],  # type: ignore[arg-type]
        )
        for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for row in records_of(rows):
                if isinstance(row, Refusal):
                    raise UserError(row.message)
                yield row

    def _device(self, offered: dict[str, float]) -> str:
        if self.config.device != "auto":
            return self.config.device.partition(":")[0]
        return "cuda" if offered.get("GPU") else "cpu"


class BatchPart:
    """A `ClipWorker` as `RayWorker` calls it."""

    def __init__(self, make_worker: MakeWorker) -> None:
        self.worker = make_worker()

    def __call__(self, batches: list[Any]) -> list[Any]:
        return [self.worker(batch) for batch in batches]
