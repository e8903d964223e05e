"""Which windows a dataset offers: the ledger's last word, a split, and filters by column."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from syncflow.data.config import DataFilters
from syncflow.data.parquet import DatasetManifest, LedgerRow, read_ledger
from syncflow.data.parquet.schema import SCORE, TEXT_SCHEMA
from syncflow.data.parquet.shards import read_index, read_table
from syncflow.data.store import Place
from syncflow.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WindowEntry:
    """One window: what the filters look at, and where its tensors lie."""

    dataset: str
    clip_id: str
    window: int
    split: str
    caption: str
    caption_key: str
    caption_source: str
    scores: Mapping[str, float]
    place: Place

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.clip_id} window {self.window}"


@dataclass(frozen=True, kw_only=True)
class TextEntry:
    """One caption's embedding: its length in tokens, its width, and where it lies."""

    tokens: int
    width: int
    place: Place


def read_windows(folder: Path, *, recipe: str) -> list[WindowEntry]:
    """Every window that the ledger stands for, ordered by (dataset, clip, window).

    The order does not depend on how the clips fell into shards, nor on how often the job was killed.
    """
    shards: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for key, row in read_ledger(folder / "ledger").items():
        if counts(row, recipe=recipe):
            shards[row.shard].add(key)
    found = [entry for shard, keys in shards.items() for entry in _entries(folder / "latents" / shard, keys)]
    return sorted(found, key=lambda entry: (entry.dataset, entry.clip_id, entry.window))


def counts(row: LedgerRow, *, recipe: str) -> bool:
    """Whether a clip's latents belong to the dataset as it is now."""
    return row.kind == "accepted" and row.recipe == recipe


def _entries(path: Path, keys: set[tuple[str, str]]) -> Iterator[WindowEntry]:
    for number, row in enumerate(read_index(path).to_pylist()):
        if (row["dataset"], row["clip_id"]) in keys:
            yield WindowEntry(
                dataset=row["dataset"],
                clip_id=row["clip_id"],
                window=row["window"],
                split=row["split"],
                caption=row["caption"],
                caption_key=row["caption_key"],
                caption_source=row["caption_source"],
                scores={k.removeprefix(SCORE): v for k, v in row.items() if k.startswith(SCORE)},
                place=Place(path=path, row=number),
            )


def read_text_index(folder: Path) -> dict[str, TextEntry]:
    """Every caption that has an embedding, by its key."""
    entries: dict[str, TextEntry] = {}
    for path in sorted((folder / "text").glob("[!.]*.parquet")):
        table = read_table(path, expected=TEXT_SCHEMA, columns=["key", "shape"])
        for number, row in enumerate(table.to_pylist()):
            tokens, width = row["shape"]
            entries.setdefault(
                row["key"], TextEntry(tokens=tokens, width=width, place=Place(path=path, row=number))
            )
    return entries


def choose(
    windows: list[WindowEntry], *, manifest: DatasetManifest, split: str, filters: DataFilters
) -> list[WindowEntry]:
    """The windows of a split that pass the filters.

    Raises:
        UserError: the dataset is not what its manifest says, a score or a caption source is unknown, or
            nothing is left.
    """
    if len(windows) != manifest.windows:
        raise UserError(
            f"dataset: {len(windows)} windows found, dataset.json says {manifest.windows}: files are missing "
            "or foreign; run precompute_latents.py again"
        )
    valid = sorted(windows[0].scores) if windows else []
    for name in (*filters.min_scores, *filters.max_scores):
        if name not in valid:
            raise UserError(f"filters: no score {name!r} in this dataset; it has {', '.join(valid)}")
    sources = sorted({w.caption_source for w in windows})
    for name in filters.caption_sources:
        if name not in sources:
            raise UserError(
                f"filters: no caption of source {name!r} in this dataset; it has {', '.join(sources)}"
            )
    chosen = [w for w in windows if w.split == split and _passes(w, filters)]
    if not chosen:
        splits = sorted({w.split for w in windows})
        raise UserError(
            f"dataset: no window of split {split!r} passes the filters ({len(windows)} windows, splits "
            f"{', '.join(splits) or 'none'}); loosen them or precompute more clips"
        )
    return chosen


def _passes(window: WindowEntry, filters: DataFilters) -> bool:
    return (
        all(window.scores[name] >= least for name, least in filters.min_scores.items())
        and all(window.scores[name] <= most for name, most in filters.max_scores.items())
        and (bool(window.caption) or not filters.require_caption)
        and (not filters.caption_sources or window.caption_source in filters.caption_sources)
    )
