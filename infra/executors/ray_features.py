"""Features of an evaluation under Ray Data: a pool of workers that hold the backbones, one GPU each.

A call computes one group of clips and writes its features to the stores, which must lie where every worker
reaches them; only reasons of failures come back.
"""

import logging
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.executors.local_cluster import cluster
from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.extraction import GroupDone, Groups, Report, extract_group

RESOURCES = {"cpu": {"num_cpus": 1}, "cuda": {"num_cpus": 1, "num_gpus": 1}}  # of one worker


class RayFeatures:
    """An `Execute` of `syncflow.evaluation.extraction`.

    Args:
        config: the backbones, as every worker loads them.
        workers: most workers; 0: one a GPU, or a CPU.
    """

    def __init__(self, config: BackboneConfig, *, workers: int) -> None:
        self.config, self.workers = config, workers

    def __call__(
        self, groups: Groups, names: Sequence[str], root: Path, report: Report
    ) -> Iterator[GroupDone]:
        """What became of each group, as it comes.

        Args:
            report: called with the number of clips that are done.

        Raises:
            UserError: a worker lacks weights, or there is no GPU for `device: cuda`.
        """
        with cluster():
            import ray
            from ray.data import ActorPoolStrategy, DataContext

            logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own line says how it goes
            context = DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            held, device = ray.cluster_resources(), self.config.device
            slots = int(held.get("GPU" if device == "cuda" else "CPU", 0))
            if not slots:
                raise UserError(
                    f"metrics.backbones.device {device}: Ray offers no GPU; use cpu, or a larger cluster"
                )
            items = [{"group": pickle.dumps(list(group)), "clips": len(group)} for group in groups]
            results = ray.data.from_items(items, override_num_blocks=len(items)).map(
                GroupWorker,  # type: ignore[arg-type]
                fn_constructor_args=(self.config, tuple(names), root.resolve()),
                compute=ActorPoolStrategy(min_size=1, max_size=min(self.workers or slots, len(items))),
                **RESOURCES[device],  # type: ignore[arg-type]
            )
            done = 0
            for row in results.iter_rows():
                if row["refusal"]:
                    raise UserError(row["refusal"])
                done += row["clips"]
                report(done)
                yield pickle.loads(row["done"])


class GroupWorker:
    """Holds the backbones. A `UserError` travels as a value: Ray would wrap it in pages of traces."""

    def __init__(self, config: BackboneConfig, names: tuple[str, ...], root: Path) -> None:
        from syncflow.evaluation.backbones import Backbones

        self.root, self.refusal = root, ""
        try:
            backbones = Backbones(config)
            self.extractors = [backbones.extractor(name) for name in names]
        except UserError as error:
            self.refusal = str(error)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        refusal, done = self.refusal, b""
        if not refusal:
            try:
                group = pickle.loads(item["group"])  # by this job's own driver
                done = pickle.dumps(extract_group(group, self.extractors, root=self.root))
            except UserError as error:
                refusal = str(error)
        return {"refusal": refusal, "done": done, "clips": item["clips"]}
