"""Any job's workers under Ray Data: one pool, an item a call.

Only items and what became of them cross processes: a worker writes what it makes itself.
"""

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from infra.executors.local_cluster import cluster, quiet_ray_data
from infra.executors.placement import in_actors, in_tasks
from syncflow.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class RayPool:
    """An `Execute` of `syncflow.jobs`.

    Args:
        device: where a worker's models run: `cpu`, `cuda` (one GPU a worker), or `auto`: GPUs where there
            are any.
        workers: most workers; 0: one a GPU, or a CPU.
        cpus_beside_gpu: CPUs of a worker that has a GPU.
    """

    def __init__(self, *, device: str, workers: int = 0, cpus_beside_gpu: int = 1) -> None:
        self.device, self.workers, self.cpus_beside_gpu = device, workers, cpus_beside_gpu

    def __call__(
        self, make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
    ) -> Iterator[Result]:
        """What became of each item, as it comes.

        Raises:
            UserError: a worker's own, or there is no GPU for `device` cuda.
        """
        with cluster():
            import ray

            quiet_ray_data()
            offered: dict[str, float] = ray.cluster_resources()  # type: ignore[assignment]
            placed: dict[str, Any]
            if self._on_gpu(offered):
                slots = max(1, int(offered.get("GPU", 1)))
                most = max(1, min(self.workers or slots, len(items)))
                placed = in_actors(_Worker, make_worker, first=slots, most=most)
                placed |= {"num_cpus": self.cpus_beside_gpu, "num_gpus": 1}
            else:
                placed = in_tasks(_Worker, make_worker, most=self.workers or None) | {"num_cpus": 1}
            # one item a block: a worker takes one at a time, and a lost one is done again alone
            rows = [{"item": pickle.dumps(item)} for item in items]
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(**placed)
            for row in results.iter_rows():
                if row["refusal"]:
                    raise UserError(row["refusal"])
                yield pickle.loads(row["result"])  # by this job's own workers

    def _on_gpu(self, offered: dict[str, float]) -> bool:
        if self.device == "auto":
            return bool(offered.get("GPU"))
        if self.device != "cpu" and not offered.get("GPU") and not os.environ.get("RAY_ADDRESS"):
            raise UserError(f"device {self.device}: Ray offers no GPU; use cpu, or a larger cluster")
        return self.device != "cpu"


class _Worker:
    """A worker behind Ray's rows. A `UserError` travels as a value: Ray would wrap it in pages of traces."""

    def __init__(self, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
        self.refusal, self.work = "", None
        try:
            self.work = make_worker()
        except UserError as error:
            self.refusal = str(error)
        torch = sys.modules.get("torch")  # one that decodes has none
        if torch is not None and not torch.cuda.is_available():
            torch.set_num_threads(1)  # a worker is given one CPU

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.work is None:
            return {"result": b"", "refusal": self.refusal}
        try:
            return {"result": pickle.dumps(self.work(pickle.loads(row["item"]))), "refusal": ""}
        except UserError as error:
            return {"result": b"", "refusal": str(error)}
