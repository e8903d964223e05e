"""Codes for FoleyGen under Ray Data: a pool of workers that hold the models; each call makes one shard."""

import logging
from collections.abc import Iterator
from typing import Any

from infra.executors.local_cluster import cluster
from preprocessing.codes_config import CodesConfig
from preprocessing.codes_worker import CodesWork, CodesWorker
from syncflow.errors import UserError

RESOURCES = {"cpu": {"num_cpus": 1}, "cuda": {"num_cpus": 4, "num_gpus": 1}}  # of one worker


class RayCodes:
    """An `Execute` of `preprocessing.codes`."""

    def __init__(self, config: CodesConfig) -> None:
        self.config = config

    def __call__(self, work: CodesWork, shards: list[str]) -> Iterator[int]:
        """How many windows of each shard got codes, as it comes."""
        with cluster():
            import ray
            from ray.data import ActorPoolStrategy, DataContext

            logging.getLogger("ray.data").setLevel(logging.ERROR)
            context = DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            held = ray.cluster_resources()
            gpus = int(held.get("GPU", 0)) if self.config.device != "cpu" else 0
            most = self.config.workers or gpus or max(1, int(held.get("CPU", 1)))
            items = [{"shard": shard} for shard in shards]
            done = ray.data.from_items(items, override_num_blocks=len(items)).map(
                _Item,  # type: ignore[arg-type]
                fn_constructor_args=(work,),
                compute=ActorPoolStrategy(min_size=1, max_size=min(most, len(items))),
                **RESOURCES["cuda" if gpus else "cpu"],  # type: ignore[arg-type]
            )
            for row in done.iter_rows():
                if row["refusal"]:
                    raise UserError(row["refusal"])
                yield row["windows"]


class _Item:
    """A `UserError` travels as a value: Ray would wrap it in pages of traces."""

    def __init__(self, work: CodesWork) -> None:
        self.refusal, self.worker = "", None
        try:
            self.worker = CodesWorker(work)
        except UserError as error:
            self.refusal = str(error)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        if self.worker is None:
            return {"windows": 0, "refusal": self.refusal}
        try:
            return {"windows": self.worker(item["shard"]), "refusal": ""}
        except UserError as error:
            return {"windows": 0, "refusal": str(error)}
