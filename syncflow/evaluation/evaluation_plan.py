"""What an evaluation would take: missing weights, clips to compute, and seconds, by backbone."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.extraction import Item, store_of
from syncflow.evaluation.extractors.base import DecodedMedia
from syncflow.evaluation.metrics.catalogue import Metric, sources_of
from syncflow.media import MediaError

TRIED = 5  # clips that may fail before no time is measured


@dataclass(frozen=True, kw_only=True)
class PlannedBackbone:
    """One extractor: how many clips it lacks, and what one takes here."""

    name: str
    missing: int
    seconds_per_clip: float | None  # None: no clip could be tried
    problem: str = ""

    def line(self) -> str:
        """For a person."""
        if self.problem:
            return f"{self.name}: {self.problem}"
        if self.seconds_per_clip is None:
            return f"{self.name}: {self.missing} to compute; no clip could be decoded to time it"
        total = self.missing * self.seconds_per_clip
        return f"{self.name}: {self.missing} to compute at {self.seconds_per_clip:.2f} s, about {total:.0f} s"


def plan_evaluation(
    items: Sequence[Item],
    texts: Sequence[Item],
    metrics: Sequence[Metric],
    *,
    backbones: Backbones,
    features: Path,
) -> list[PlannedBackbone]:
    """Each backbone of the metrics, timed on one clip; nothing is kept."""
    names = dict.fromkeys(source.extractor for metric in metrics for source in sources_of(metric))
    sample, found = _first_readable(items), []
    for name in names:
        try:
            extractor = backbones.extractor(name)
        except UserError as error:
            found.append(PlannedBackbone(name=name, missing=0, seconds_per_clip=None, problem=str(error)))
            continue
        wanted = texts if extractor.modality == "text" else items
        known = store_of(extractor, features).known()
        missing = len({item.key for item in wanted} - known.keys())
        one = wanted[0].load() if extractor.modality == "text" and wanted else sample
        seconds = None
        if one is not None:
            extractor([one])  # the first call prepares what later ones share
            start = time.perf_counter()
            extractor([one])
            seconds = time.perf_counter() - start
        found.append(PlannedBackbone(name=name, missing=missing, seconds_per_clip=seconds))
    return found


def _first_readable(items: Sequence[Item]) -> DecodedMedia | None:
    for item in items[:TRIED]:
        try:
            return item.load()
        except MediaError:
            continue
    return None
