"""Features of clips by a list of extractors: each clip is decoded once, and none is kept decoded."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.evaluation.extractors.base import DecodedMedia, Extractor, Refused
from syncflow.evaluation.feature_store import FeatureRow, FeatureStore
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.media import MediaError, decode_window
from syncflow.media.evaluation_set import ClipFile
from syncflow.records import ClipSpec

BATCH = 8  # clips that are decoded at once
COMMIT_CLIPS = 64  # features are written after so many clips,
COMMIT_S = 30.0  # or after so long: what a kill costs
PASSING = ("timeout", "out_of_memory", "unreadable")  # reasons that another run may not meet


@dataclass(frozen=True, kw_only=True)
class Item:
    """What features are computed of, and the key that they are kept by."""

    key: str
    load: Callable[[], DecodedMedia]


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What became of the items: by extractor, the failures by key."""

    failures: Mapping[str, Mapping[str, str]]
    computed: Mapping[str, int]  # how many were not in the store before


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

    def load() -> DecodedMedia:
        frames, audio = decode_window(clip.path.resolve(), start_s=clip.start_s, spec=spec)
        return DecodedMedia(frames=frames, fps=spec.fps, audio=audio, sample_rate=spec.sample_rate)

    key = settings_sha256([content, clip.start_s, spec.model_dump(mode="json")])
    return Item(key=key, load=load)


def text_item(text: str) -> Item:
    """The item of a prompt."""
    return Item(key=settings_sha256(["text", text]), load=lambda: DecodedMedia(text=text))


def store_of(extractor: Extractor, root: Path) -> FeatureStore:
    """Where the extractor's features are kept."""
    return FeatureStore(root, name=extractor.name, identity=extractor.identity, outputs=extractor.outputs)


def extract(
    items: Sequence[Item],
    extractors: Sequence[Extractor],
    *,
    root: Path,
    report: Callable[[int], None] = lambda done: None,
) -> Extracted:
    """Compute what the stores below `root` do not hold; equal items are computed once.

    A clip that cannot be decoded, or that an extractor refuses, becomes a row with its reason; a reason
    that another run may not meet (a timeout) is told but not kept.

    Args:
        report: called with the number of items that are done.
    """
    stores = [store_of(extractor, root) for extractor in extractors]
    known = [store.known() for store in stores]
    failures: list[dict[str, str]] = [{} for _ in extractors]
    computed = [0] * len(extractors)
    distinct = list({item.key: item for item in items}.values())
    missing = [item for item in distinct if any(item.key not in keys for keys in known)]
    done = len(items) - len(missing)
    report(done)
    pending: list[list[FeatureRow]] = [[] for _ in extractors]
    committed_s = time.monotonic()

    def commit() -> None:
        for store, rows in zip(stores, pending, strict=True):
            store.append(rows)
            rows.clear()

    try:
        for batch in _batches(missing):
            decoded = {item.key: _load(item) for item in batch}
            for place, extractor in enumerate(extractors):
                keys = [item.key for item in batch if item.key not in known[place]]
                rows = _rows(extractor, {key: decoded[key] for key in keys})
                failures[place] |= {row.clip: row.failure for row in rows if row.failure}
                pending[place] += [row for row in rows if row.failure.split(":")[0] not in PASSING]
                computed[place] += len(rows)
            if max(map(len, pending)) >= COMMIT_CLIPS or time.monotonic() - committed_s > COMMIT_S:
                commit()
                committed_s = time.monotonic()
            done += len(batch)
            report(done)
    finally:  # what is finished is kept, also when the next clip is interrupted
        commit()
    wanted = {item.key for item in items}
    for place, keys in enumerate(known):
        failures[place] |= {key: failure for key, failure in keys.items() if failure and key in wanted}
    names = [extractor.name for extractor in extractors]
    return Extracted(
        failures=dict(zip(names, failures, strict=True)), computed=dict(zip(names, computed, strict=True))
    )


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
        if isinstance(result, Refused):
            rows.append(FeatureRow(clip=key, outputs={}, failure=result.reason))
        else:
            rows.append(FeatureRow(clip=key, outputs=result))
    return rows


def _batches(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
