"""Systems compared by many metrics: features once, then one number for each metric and system.

No number where the clips do not add up: more failed than allowed, clips that nothing asked for, or weights
that are not there; a note says which.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from syncflow.errors import UserError
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.evaluation_set import System
from syncflow.evaluation.extraction import Execute, Item, clip_item, extract, store_of, text_item
from syncflow.evaluation.extractors.base import Extractor
from syncflow.evaluation.feature_store import FeatureStore
from syncflow.evaluation.measure import (
    FLOOR_DRAWS,
    KERNEL_DRAWS,
    SEED,
    Floor,
    Measured,
    floor_of,
    measure,
)
from syncflow.evaluation.metrics.catalogue import Metric, SetDistance, Source, sources_of
from syncflow.evaluation.metrics.interval import DRAWS
from syncflow.evaluation.protocol import ProtocolCard
from syncflow.hashing import settings_sha256
from syncflow.media import MediaError
from syncflow.media.evaluation_set import ClipFile
from syncflow.records import ClipSpec

SILENT_PEAK = 1e-4  # of full scale, -80 dBFS
BLACK_LEVEL = 16  # grey levels of 255: the largest pixel of a black clip is below
REFERENCE = "reference"  # among the systems of `Comparison.failures`
LACKING = {"reference": "no reference clip of this id", "prompt": "no prompt"}
UNPAIRED = {
    "reference": "no clip has a reference clip of its id: that of its manifest's `video`, or its file's name",
    "prompt": "no clip has a prompt: those of manifest.csv, captions.csv or the evaluation set",
}
LEVELS = Source(extractor="levels", output="levels")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one system."""

    metric: Metric
    system: str
    expected: int
    failed: int
    measured: Measured
    floor: Floor


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every number, what became of each clip, and the protocol."""

    rows: tuple[Row, ...]
    failures: tuple[tuple[str, str, str], ...]  # system (`reference`: a real clip), clip id, reason
    remarks: tuple[str, ...]  # silent, black and surplus clips
    card: ProtocolCard


@dataclass
class _Side:
    """A system's (or the reference's) clips as keys of the feature stores."""

    keys: dict[str, str] = field(default_factory=dict)  # by clip id
    texts: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def compare(
    systems: Sequence[System],
    reference: Sequence[ClipFile],
    metrics: Sequence[Metric],
    *,
    backbones: Backbones,
    spec: ClipSpec,
    features: Path,
    max_failed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
    execute: Execute | None = None,
) -> Comparison:
    """Measure every metric of every system against the reference clips.

    Args:
        features: folder of the feature stores.
        max_failed: most clips of a system that may have failed.
        report: called with the number of clips whose features are there, and of all.
        execute: computes the features with backbones of its own; None: this process does.
    """
    extractors, missing = _load(metrics, backbones)
    items: dict[str, Item] = {}
    sides = {system.name: _side(system.clips, spec, items) for system in systems}
    real = _side(reference, spec, items, distinct=False)
    prompts = {clip.prompt for clips in (*(s.clips for s in systems), reference) for clip in clips}
    texts = {item.key: item for item in map(text_item, sorted(prompts - {""}))}
    media = [e for e in extractors.values() if e.modality != "text"]
    words = [e for e in extractors.values() if e.modality == "text"]
    found = extract(
        list(items.values()),
        media,
        root=features,
        report=lambda done: report(done, len(items)),
        execute=execute,
    )
    told = extract(list(texts.values()), words, root=features, execute=execute)
    kept = _Features(
        stores={name: store_of(extractor, features) for name, extractor in extractors.items()},
        wanted=[*items, *texts],
        failures={**found.failures, **told.failures},
        real=real,
    )
    rows: list[Row] = []
    lost: dict[tuple[str, str, str], None] = {}
    for system in systems:
        for metric in metrics:
            absent = next((missing[s.extractor] for s in sources_of(metric) if s.extractor in missing), "")
            broken = kept.broken(metric, sides[system.name])
            rows.append(kept.row(metric, system, sides[system.name], broken, absent, spec, max_failed))
            lost |= dict.fromkeys((system.name, clip, reason) for clip, reason in broken.items())
            lost |= dict.fromkeys((REFERENCE, *each) for each in kept.broken_reference(metric).items())
    return Comparison(
        rows=tuple(rows),
        failures=tuple(lost),
        remarks=tuple(_remarks(systems, lambda name: kept.load(LEVELS, sides[name]))),
        card=protocol_card(
            metrics,
            extractors,
            missing,
            reference=real,
            reference_failed=sorted({clip for side, clip, _ in lost if side == REFERENCE}),
            spec=spec,
            max_failed=max_failed,
        ),
    )


class _Features:
    """What the stores hold of all clips, by the ids of one side."""

    def __init__(
        self,
        *,
        stores: Mapping[str, FeatureStore],
        wanted: Sequence[str],
        failures: Mapping[str, Mapping[str, str]],
        real: _Side,
    ) -> None:
        self.stores, self.wanted, self.failures, self.real = stores, wanted, failures, real
        self.read: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.floors: dict[tuple[str, int], Floor] = {}

    def load(self, source: Source, own: _Side) -> dict[str, np.ndarray]:
        """Features by clip id of the system `own`, of the reference, or of the system's prompts."""
        place = (source.extractor, source.output)
        if place not in self.read:
            self.read[place] = self.stores[source.extractor].load(self.wanted, source.output)
        found = self.read[place]
        return {i: found[key] for i, key in self._keys(source, own).items() if key in found}

    def broken(self, metric: Metric, own: _Side) -> dict[str, str]:
        """Clips that the metric cannot use, with the reason: their own, or their reference's where paired."""
        found = dict(own.failures)
        for source in self._paired(metric):
            reasons, keys = self.failures.get(source.extractor, {}), self._keys(source, own)
            found |= {i: reasons[key] for i, key in keys.items() if key in reasons and i in own.keys}
            if source.side != "generated" and not self._unpaired(source, own):
                told = self.real.failures if source.side == "reference" else {}
                found |= {i: told.get(i, LACKING[source.side]) for i in own.keys if i not in keys}
        return found

    def broken_reference(self, metric: Metric) -> dict[str, str]:
        """Real clips that a set distance cannot use, with the reason; none of other metrics."""
        if not isinstance(metric, SetDistance):
            return {}
        reasons = self.failures.get(metric.source.extractor, {})
        found = {i: reasons[key] for i, key in self.real.keys.items() if key in reasons}
        return {**self.real.failures, **found}

    def row(
        self,
        metric: Metric,
        system: System,
        own: _Side,
        broken: Mapping[str, str],
        absent: str,
        spec: ClipSpec,
        max_failed: int,
    ) -> Row:
        """The number, or why there is none."""
        reason = (
            absent
            or withheld_because(system, failed=len(broken), max_failed=max_failed)
            or next((UNPAIRED[s.side] for s in self._paired(metric) if self._unpaired(s, own)), "")
        )
        lost = len(self.broken_reference(metric))
        if not reason and lost > max_failed:
            reason = f"withheld: {lost} of {len(self.real.keys | self.real.failures)} reference clips failed"
        measured, floor = Measured(note=reason), Floor()
        if not reason:
            ids = [clip.id for clip in system.clips if clip.id not in broken]
            measured = measure(metric, lambda source: self.load(source, own), ids=ids, fps=spec.fps)
            floor = self.floor(metric, own, clips=len(ids))
        counts = {"expected": len(system.clips), "failed": len(broken)}
        return Row(metric=metric, system=system.name, measured=measured, floor=floor, **counts)

    def floor(self, metric: Metric, own: _Side, *, clips: int) -> Floor:
        """Of a set distance; the same for systems of equally many clips."""
        if not isinstance(metric, SetDistance):
            return Floor()
        place = (metric.name, clips)
        if place not in self.floors:
            reference = self.load(sources_of(metric)[1], own)
            self.floors[place] = floor_of(metric, reference, clips=clips)
        return self.floors[place]

    @staticmethod
    def _paired(metric: Metric) -> list[Source]:
        """The sources of which every clip needs its own: all but the reference of a set distance."""
        sources = sources_of(metric)
        return [s for s in sources if s.side != "reference" or not isinstance(metric, SetDistance)]

    def _unpaired(self, source: Source, own: _Side) -> bool:
        """Whether none of the system's clips has a reference clip, or a prompt, of its own."""
        if source.side == "generated":
            return False
        told = self.real.failures if source.side == "reference" else {}
        return own.keys.keys().isdisjoint({**self._keys(source, own), **told})

    def _keys(self, source: Source, own: _Side) -> Mapping[str, str]:
        return {"generated": own.keys, "reference": self.real.keys, "prompt": own.texts}[source.side]


def protocol_card(
    metrics: Sequence[Metric],
    extractors: Mapping[str, Extractor],
    missing: Mapping[str, str],
    *,
    reference: _Side,
    reference_failed: Sequence[str],
    spec: ClipSpec,
    max_failed: int,
) -> ProtocolCard:
    """Everything that decides the numbers.

    Args:
        reference_failed: ids of the reference clips that have no features.
    """
    failed = {"failed": list(reference_failed)} if reference_failed else {}  # none: cards as ever
    return ProtocolCard(
        {
            "clip": {
                **spec.model_dump(mode="json"),
                "resize": "cover, centre crop",
                "mono": "mean of the channels",
            },
            "metrics": [metric.name for metric in metrics],
            "extractors": {name: dict(each.identity) for name, each in sorted(extractors.items())},
            "without_weights": sorted(missing),
            "reference": {
                "clips": len(reference.keys),
                "sha256": settings_sha256(sorted([i, key] for i, key in reference.keys.items())),
                **failed,
            },
            "kl": "softmax, exact; KL(reference || generated), reversed where it says so",
            "kernel": "Gaussian, median squared distance of the reference, x 1000, unbiased",
            "interval": {"draws": DRAWS, "kernel_draws": KERNEL_DRAWS, "seed": SEED, "level": 0.95},
            "floor_draws": FLOOR_DRAWS,
            "max_failed": max_failed,
        }
    )


def _load(metrics: Sequence[Metric], backbones: Backbones) -> tuple[dict[str, Extractor], dict[str, str]]:
    """The extractors of all metrics, and why those are missing that are."""
    names = dict.fromkeys([LEVELS.extractor, *(s.extractor for m in metrics for s in sources_of(m))])
    extractors, missing = {}, {}
    for name in names:
        try:
            extractors[name] = backbones.extractor(name)
        except UserError as error:
            missing[name] = str(error)
    return extractors, missing


def _side(
    clips: Sequence[ClipFile], spec: ClipSpec, items: dict[str, Item], *, distinct: bool = True
) -> _Side:
    """Keys of the clips, which are added to `items`; a clip with the bytes of an earlier one has failed."""
    side, first = _Side(), {}
    for clip in clips:
        try:
            item = clip_item(clip, spec)
        except MediaError as error:
            side.failures[clip.id] = str(error)
            continue
        if distinct and item.key in first:
            side.failures[clip.id] = f"duplicate: the same bytes as {first[item.key]}"
            continue
        first[item.key] = clip.id
        items.setdefault(item.key, item)
        side.keys[clip.id] = item.key
        if clip.prompt:
            side.texts[clip.id] = text_item(clip.prompt).key
    return side


def withheld_because(system: System, *, failed: int, max_failed: int) -> str:
    """Why a system of so many failed clips gets no number; empty where it gets one."""
    if system.extra:
        return f"withheld: {len(system.extra)} clips too many, as {system.extra[0]}"
    if failed > max_failed:
        return f"withheld: {failed} of {len(system.clips)} clips failed"
    return ""


def _remarks(systems: Sequence[System], levels_of: Callable[[str], Mapping[str, np.ndarray]]) -> list[str]:
    found = []
    for system in systems:
        levels = levels_of(system.name)
        silent = [i for i, level in levels.items() if level[0] < SILENT_PEAK]
        black = [i for i, level in levels.items() if level[1] < BLACK_LEVEL]
        for word, ids in (("silent", silent), ("black", black), ("not asked for", system.extra)):
            if ids:
                found.append(f"{system.name}: {len(ids)} clips {word}: {', '.join(sorted(ids)[:5])}")
    return found


def is_number(measured: Measured) -> bool:
    """Whether there is one to print."""
    return not math.isnan(measured.value)
