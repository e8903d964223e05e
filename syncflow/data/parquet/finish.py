"""The last act of a job: settle ledger and tables, write `dataset.json`, then sweep what it does not name.

Nothing goes before what takes its place is whole on the disk: until `dataset.json` is replaced, the dataset
of the job before is there unchanged.
"""

import contextlib
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from syncflow.data.parquet.compact import BEYOND
from syncflow.data.parquet.index_file import ROOM as INDEX
from syncflow.data.parquet.index_file import index_path, write_index
from syncflow.data.parquet.ledger import (
    ClipKey,
    Ledger,
    LedgerRow,
    clips_by_shard,
    ledger_files,
    ledger_sha256,
    tally,
    write_ledger,
)
from syncflow.data.parquet.manifest import DatasetManifest
from syncflow.data.parquet.schema import SCHEMA_VERSION, TEXT_SCHEMA
from syncflow.data.parquet.shards import (
    MAX_ROWS,
    footer_of,
    open_table,
    read_rows,
    read_table,
    read_texts,
    shard_name,
    write_shard,
    write_texts,
)
from syncflow.errors import UserError
from syncflow.files import cannot_write
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.records import ClipSpec, TextEmbedding, Weights
from syncflow.version import __version__

Embed = Callable[[str], TextEmbedding]
ROOMS = ("latents", "text", "ledger", INDEX)
FOREIGN_LOCK_S = 3600.0  # age from which another job's half-made lock file is nobody's


def finish_dataset(
    folder: Path,
    *,
    recipe: str,
    keys: Iterable[ClipKey],
    spec: ClipSpec,
    frame_spans: Sequence[tuple[int, int]],
    video_vae: Weights,
    audio_vae: Weights,
    text_encoder: Weights,
    config: dict[str, Any],
    embed: Embed | None = None,
    max_tokens: int = 0,
) -> DatasetManifest:
    """Write the manifest of a dataset that has a ledger row for each of `keys`, the job's inputs.

    Clips of earlier jobs with the same recipe stay and count. Afterwards the folder's tables hold the rows
    that count and no others.

    Args:
        embed: makes the embedding of a caption that no text shard holds any more.
        max_tokens: longest caption of the text encoder, tokens; 0: unknown.

    Raises:
        UserError: an input has no row of this recipe, or a caption has no embedding and there is no `embed`.
    """
    ledger = Ledger.read(folder / "ledger")
    lost = lost_shards(folder, ledger)
    standing = {key: row for key, row in ledger.rows(lost=lost).items() if row.recipe == recipe}
    if absent := [key for key in keys if key not in standing]:
        raise UserError(
            f"{folder}: {len(absent)} clips have no ledger row, first {absent[0]}; run the job again"
        )
    rows, files = _settle_latents(folder, ledger, standing)
    captions = _captions(folder, list(files))
    texts, lengths = _settle_texts(folder, ledger, captions, embed)
    files |= texts
    names = _settle_ledger(folder, ledger, rows, files)
    files_sha256 = settings_sha256(files)
    index_sha256 = write_index(
        folder,
        clips=clips_by_shard(rows),
        texts=[Path(name).name for name in texts],
        files_sha256=files_sha256,
    )
    counts = tally(rows)
    manifest = DatasetManifest(
        schema_version=SCHEMA_VERSION,
        version=__version__,
        recipe=recipe,
        spec=spec,
        frame_spans=tuple(frame_spans),
        video_vae=video_vae,
        audio_vae=audio_vae,
        text_encoder=text_encoder,
        inputs=len(rows),
        accepted=sum(counts["accepted"].values()),
        rejected=counts["rejected"],
        failed=counts["failed"],
        missing=counts["missing"],
        windows=sum(row.windows for row in rows),
        captions=len(captions),
        cut_captions=sum(length >= max_tokens for length in lengths.values()) if max_tokens else 0,
        latents_bytes=sum((folder / p).stat().st_size for p in files if p.startswith("latents/")),
        text_bytes=sum((folder / p).stat().st_size for p in texts),
        files_sha256=files_sha256,
        index_sha256=index_sha256,
        ledger_sha256=ledger_sha256(folder / "ledger", names),
        ledger_files=tuple(names),
        config=config,
    )
    manifest.write(folder)
    _sweep(
        folder, {*files, *(f"ledger/{name}" for name in names)}, index_path(folder, files_sha256=files_sha256)
    )
    return manifest


def lost_shards(folder: Path, ledger: Ledger) -> set[str]:
    """Names of the latents shards that the ledger's successes lie in and that are not there."""
    named = {row.shard for row in ledger.tried if row.kind == "accepted"}
    return {shard for shard in named if not (folder / "latents" / shard).is_file()}


def _settle_latents(
    folder: Path, ledger: Ledger, standing: Mapping[ClipKey, LedgerRow]
) -> tuple[list[LedgerRow], dict[str, str]]:
    """The standing rows, and hashes of the shards that they lie in, which are rewritten without others."""
    held: dict[str, set[ClipKey]] = defaultdict(set)
    live: dict[str, set[ClipKey]] = defaultdict(set)
    for row in ledger.tried:
        if row.kind == "accepted":
            held[row.shard].add(row.key)
    for row in standing.values():
        if row.kind == "accepted":
            live[row.shard].add(row.key)
    renamed, files = {}, {}
    for shard, keys in sorted(live.items()):
        name = shard if held[shard] == keys else _rewrite_shard(folder, shard, keys)
        renamed[shard] = name
        committed = ledger.committed.get(f"latents/{name}") if name == shard else None
        files[f"latents/{name}"] = committed or file_sha256(folder / "latents" / name)
    rows = [
        dataclasses.replace(row, shard=renamed[row.shard]) if row.kind == "accepted" else row
        for row in standing.values()
    ]
    return sorted(rows, key=lambda row: row.key), files


def _rewrite_shard(folder: Path, shard: str, keys: Collection[ClipKey]) -> str:
    """Write the rows of some clips of a shard as a shard of its own; its name."""
    path = folder / "latents" / shard
    with open_table(path) as file:
        footer = {name: value for name, value in footer_of(file).items() if name != "schema_version"}
    rows = [row for row in read_rows(path) if (row.dataset, row.clip_id) in keys]
    name = shard_name([*keys, ("of", shard)])
    write_shard(path.with_name(name), rows, footer=footer)
    return name


def _captions(folder: Path, shards: Iterable[str]) -> dict[str, str]:
    """Key and text of every caption of the latents table."""
    captions: dict[str, str] = {}
    for name in sorted(shards):
        table = read_table(folder / name, columns=["caption_key", "caption"])
        captions |= dict(
            zip(table.column("caption_key").to_pylist(), table.column("caption").to_pylist(), strict=True)
        )
    return captions


def _settle_texts(
    folder: Path, ledger: Ledger, captions: Mapping[str, str], embed: Embed | None
) -> tuple[dict[str, str], dict[str, int]]:
    """Hashes of the text shards, which hold an embedding for each caption and none besides; and the tokens of
    each.
    """
    files: dict[str, str] = {}
    lengths: dict[str, int] = {}
    for name, sha256 in sorted(ledger.committed.items()):
        path = folder / name
        if not name.startswith("text/") or not path.is_file():
            continue
        table = read_table(path, expected=TEXT_SCHEMA, columns=["key", "shape"])
        found = {row["key"]: row["shape"][0] for row in table.to_pylist()}
        wanted = found.keys() & captions.keys()
        if wanted and wanted != found.keys():
            path = path.with_name(shard_name([("of", name), *((key, "") for key in wanted)]))
            write_texts(path, [text for text in read_texts(folder / name) if text.key in wanted], footer={})
            name, sha256 = f"text/{path.name}", file_sha256(path)
        if wanted:
            files[name] = sha256
            lengths |= {key: found[key] for key in wanted}
    if absent := sorted(captions.keys() - lengths.keys()):
        if embed is None:
            raise UserError(
                f"{folder}: {len(absent)} captions have no embedding, first {captions[absent[0]]!r:.80}; run "
                "precompute_latents.py again"
            )
        texts = [embed(captions[key]) for key in absent]
        path = folder / "text" / shard_name([("again", key) for key in absent])
        write_texts(path, texts, footer={})
        files[f"text/{path.name}"] = file_sha256(path)
        lengths |= {text.key: len(text.tokens) for text in texts}
    return files, lengths


def _settle_ledger(
    folder: Path, ledger: Ledger, rows: list[LedgerRow], files: Mapping[str, str]
) -> list[str]:
    """Names of the files of a ledger that holds these rows and files alone: as it is, or written anew."""
    same = sorted(ledger.tried, key=lambda row: row.key) == rows and ledger.committed == dict(files)
    if same and len(ledger.files) <= BEYOND:
        return [path.name for path in ledger.files]
    room = folder / "ledger"
    before = {path.name for path in ledger_files(room)}
    stem = settings_sha256([[dataclasses.asdict(row) for row in rows], files])[:24]
    starts = range(0, max(1, len(rows)), MAX_ROWS)
    names = [f"{stem}-{start}.parquet" for start in starts]
    for name, start in zip(names, starts, strict=True):
        last = name == names[-1]
        write_ledger(
            room / name,
            rows[start : start + MAX_ROWS],
            files=files if last else {},
            replaces=before - set(names) if last else (),
            settled=max([ledger.settled, *(row.attempt for row in ledger.tried)]),
        )
    return names


def _sweep(folder: Path, keep: Collection[str], index: Path) -> None:
    """Remove what the dataset does not name: shards of killed jobs and of former rows, temporary files."""
    keep = {*keep, f"{INDEX}/{index.name}"}
    gone = [
        path
        for room in ROOMS
        for path in (folder / room).glob("*.parquet")
        if f"{room}/{path.name}" not in keep
    ]
    gone += [path for room in (*ROOMS, ".") for path in (folder / room).glob(".*.tmp")]
    gone += folder.glob(".writer.lock.*")
    for path in gone:
        with contextlib.suppress(FileNotFoundError):
            # another job may be about to ask for the lock
            if not path.name.startswith((".writer.lock.", "..writer.lock.")) or _age_s(path) > FOREIGN_LOCK_S:
                try:
                    path.unlink()
                except PermissionError as error:
                    raise cannot_write(path, error) from None


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime
