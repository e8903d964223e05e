"""Features of clips by a list of extractors: each clip is decoded once, and none is kept decoded.

A group of clips is the unit of work: what computes it writes its features to the stores itself, so that no
frame and no feature passes from one process to another.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from syncflow.evaluation.extractors.base import DecodedMedia, Extractor, Outputs, Refused
from syncflow.evaluation.feature_store import FeatureRow, FeatureStore
from syncflow.files import require_writable
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.media import MediaError, decode_window
from syncflow.media.evaluation_set import ClipFile
from syncflow.records import ClipSpec

BATCH = 8  # clips that are decoded at once
GROUP = 64  # clips of a group; their features are written when it is done,
COMMIT_S = 30.0  # or after so long: what a kill costs
PASSING = ("timeout", "out_of_memory", "unreadable")  # reasons that another run may not meet


@dataclass(frozen=True, kw_only=True)
class Item:
    """What features are computed of, and the key that they are kept by."""

    key: str
    load: Callable[[], DecodedMedia]


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """An item, and the places (in the list of extractors) of those whose stores do not hold it."""

    item: Item
    extractors: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What became of the items: by extractor, the failures by key."""

    failures: Mapping[str, Mapping[str, str]]
    computed: Mapping[str, int]  # how many were not in the store before


@dataclass(frozen=True, kw_only=True)
class GroupDone:
    """What became of a group: for each extractor in turn, the failures by key and how many were computed."""

    items: int
    failures: tuple[Mapping[str, str], ...]
    computed: tuple[int, ...]


Groups = Sequence[Sequence[Lacking]]
Report = Callable[[int], None]
Execute = Callable[[Groups, Sequence[str], Path, Report], Iterator[GroupDone]]
"""Computes groups of items by the extractors of these names into the stores below a folder; what became of
each group, as it comes. `Report` may be called with the number of items that are done meanwhile."""


def clip_item(clip: ClipFile, spec: ClipSpec) -> Item:
    """The item of a clip's window.

    Raises:
        MediaError: the file cannot be read.
    """
    try:
        content = file_sha256(clip.path)
    except FileNotFoundError:
        raise MediaError("not_a_file", f"{clip.path}: no such file") from None
    except OSError as error:
        raise MediaError("unreadable", f"{clip.path}: {error.strerror}") from None
    key = settings_sha256([content, clip.start_s, spec.model_dump(mode="json")])
    return Item(key=key, load=partial(_decoded, clip.path.resolve(), clip.start_s, spec))


def text_item(text: str) -> Item:
    """The item of a prompt."""
    return Item(key=settings_sha256(["text", text]), load=partial(DecodedMedia, text=text))


def store_of(extractor: Extractor, root: Path) -> FeatureStore:
    """Where the extractor's features are kept."""
    return FeatureStore(root, name=extractor.name, identity=extractor.identity, outputs=extractor.outputs)


def extract(
    items: Sequence[Item],
    extractors: Sequence[Extractor],
    *,
    root: Path,
    report: Report = lambda done: None,
    execute: Execute | None = None,
) -> Extracted:
    """Compute what the stores below `root` do not hold; equal items are computed once.

    A clip that cannot be decoded, or that an extractor refuses, becomes a row with its reason; a reason
    that another run may not meet (a timeout) is told but not kept.

    Args:
        report: called with the number of items that are done.
        execute: computes the groups; None: this process does, with `extractors`.

    Raises:
        UserError: something is to be computed, and `root` cannot be written.
    """
    names = [extractor.name for extractor in extractors]
    known = [store_of(extractor, root).known() for extractor in extractors]
    distinct = {item.key: item for item in items}
    missing = [
        Lacking(item=item, extractors=lacking)
        for item in distinct.values()
        if (lacking := frozenset(place for place, keys in enumerate(known) if item.key not in keys))
    ]
    there = len(items) - len(missing)
    report(there)
    if missing:
        require_writable(root)
    groups = [missing[start : start + GROUP] for start in range(0, len(missing), GROUP)]
    run = execute or partial(run_in_loop, extractors)
    failures: list[dict[str, str]] = [
        {key: reason for key, reason in keys.items() if reason and key in distinct} for keys in known
    ]
    computed = [0] * len(names)
    for done in run(groups, names, root, lambda count: report(there + count)) if groups else ():
        for place in range(len(names)):
            failures[place] |= done.failures[place]
            computed[place] += done.computed[place]
    return Extracted(
        failures=dict(zip(names, failures, strict=True)), computed=dict(zip(names, computed, strict=True))
    )


def run_in_loop(
    extractors: Sequence[Extractor], groups: Groups, names: Sequence[str], root: Path, report: Report
) -> Iterator[GroupDone]:
    """One group after the other in this process (an `Execute`, once the extractors are given).

    Args:
        report: called with the number of clips that are done.
    """
    del names  # those of `extractors`
    before = 0
    for group in groups:

        def inside(count: int, before: int = before) -> None:
            report(before + count)

        yield extract_group(group, extractors, root=root, report=inside)
        before += len(group)


def extract_group(
    group: Sequence[Lacking],
    extractors: Sequence[Extractor],
    *,
    root: Path,
    report: Report = lambda done: None,
) -> GroupDone:
    """Decode the items of a group, and write what their extractors give to the stores below `root`.

    Args:
        report: called with the number of the group's items that are done.
    """
    stores = [store_of(extractor, root) for extractor in extractors]
    failures: list[dict[str, str]] = [{} for _ in extractors]
    computed = [0] * len(extractors)
    pending: list[list[FeatureRow]] = [[] for _ in extractors]
    committed_s, done = time.monotonic(), 0

    def commit() -> None:
        for store, rows in zip(stores, pending, strict=True):
            store.append(rows)
            rows.clear()

    try:
        for batch in _batches(group):
            decoded = {each.item.key: _load(each.item) for each in batch}
            for place, extractor in enumerate(extractors):
                keys = [each.item.key for each in batch if place in each.extractors]
                rows = _rows(extractor, {key: decoded[key] for key in keys})
                failures[place] |= {row.clip: row.failure for row in rows if row.failure}
                pending[place] += [row for row in rows if row.failure.split(":")[0] not in PASSING]
                computed[place] += len(rows)
            done += len(batch)
            if done == len(group) or time.monotonic() - committed_s > COMMIT_S:
                commit()
                committed_s = time.monotonic()
            report(done)
    finally:  # what is finished is kept, also when the next clip is interrupted
        commit()
    return GroupDone(items=len(group), failures=tuple(failures), computed=tuple(computed))


def _decoded(path: Path, start_s: float, spec: ClipSpec) -> DecodedMedia:
    frames, audio = decode_window(path, start_s=start_s, spec=spec)
    return DecodedMedia(frames=frames, fps=spec.fps, audio=audio, sample_rate=spec.sample_rate)


def _load(item: Item) -> DecodedMedia | Refused:
    try:
        return item.load()
    except MediaError as error:
        return Refused(reason=f"{error.reason}: {error.detail}")


def _rows(extractor: Extractor, decoded: Mapping[str, DecodedMedia | Refused]) -> list[FeatureRow]:
    good = {key: clip for key, clip in decoded.items() if isinstance(clip, DecodedMedia)}
    results = dict(zip(good, extractor(list(good.values())) if good else (), strict=True))
    rows = []
    for key, clip in decoded.items():
        result = clip if isinstance(clip, Refused) else results[key]
        failure = result.reason if isinstance(result, Refused) else _not_finite(extractor, result)
        outputs = {} if isinstance(result, Refused) or failure else result
        rows.append(FeatureRow(clip=key, outputs=outputs, failure=failure))
    return rows


def _not_finite(extractor: Extractor, outputs: Outputs) -> str:
    """Why what an extractor gives cannot be kept; empty where it can."""
    wrong = next((name for name, array in outputs.items() if not np.isfinite(array).all()), "")
    return f"not_finite: {wrong} of {extractor.name}" if wrong else ""


def _batches(items: Sequence[Lacking]) -> Iterable[Sequence[Lacking]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
