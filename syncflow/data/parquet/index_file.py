"""The index of a finished dataset: one plain Parquet file with a row for each window, and no tensor.

    <dataset>/index/<hash>.parquet    sorted by dataset, clip and window

It holds what filters and listings look at, and where a window's latents and its caption's tokens lie, so
that a dataset of a million windows opens in seconds. The manifest names it by its hash; the shards stay the
truth, from which it can be built again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from syncflow.data.parquet.schema import MOMENTS, SCORE, TEXT_SCHEMA
from syncflow.data.parquet.shards import SLACK, THRIFT, footer_of, open_table, read_table, write_table
from syncflow.errors import UserError
from syncflow.hashing import file_sha256

ROOM = "index"
ROWS_PER_GROUP = 1 << 16
BYTES_PER_ROW = 4096  # of a row group, on average, beside `SLACK`
SORTED_BY = ("dataset", "clip_id", "window")
OF_A_WINDOW = (*SORTED_BY, "start_s", "split", "caption", "caption_key", "caption_source")
PLACES = {
    "shard": pa.string(),  # name of the file in latents/
    "row": pa.int32(),  # in it
    "text_shard": pa.string(),  # name of the file in text/
    "text_row": pa.int32(),
    "text_tokens": pa.int32(),  # length of the caption's embedding
}
FEW = ("dataset", "split", "caption_source", "shard", "text_shard")  # columns of few distinct values
UPGRADE = "python pipelines/inspect_dataset.py --upgrade --dataset"


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """The columns that were asked for, and what holds for all windows."""

    table: pa.Table
    scores: tuple[str, ...]  # names without the prefix
    video_shape: tuple[int, ...]  # c t h w
    audio_shape: tuple[int, ...]  # n d
    text_width: int


def index_path(folder: Path, *, files_sha256: str) -> Path:
    """Where the index of the dataset with these shards lies."""
    return folder / ROOM / f"{files_sha256[:24]}.parquet"


def write_index(
    folder: Path,
    *,
    clips: Mapping[str, Collection[tuple[str, str]]],
    texts: Sequence[str],
    files_sha256: str,
) -> str:
    """Build the index from the shards and write it; the sha256 of the file.

    Args:
        folder: the dataset.
        clips: the clips (dataset, clip id) that count, by the latents shard (file name) that holds them.
        texts: file names of the text shards.
        files_sha256: the manifest's hash of all shards.

    Raises:
        UserError: a shard is damaged or unlike the others, a caption has no embedding, or the disk is full.
    """
    table, footer = build_index(folder, clips=clips, texts=texts)
    path = index_path(folder, files_sha256=files_sha256)
    write_table(table, path, footer={**footer, "files_sha256": files_sha256}, rows_per_group=ROWS_PER_GROUP)
    return file_sha256(path)


def build_index(
    folder: Path, *, clips: Mapping[str, Collection[tuple[str, str]]], texts: Sequence[str]
) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of the index and its footer, read from the shards; arguments and errors as `write_index`.

    Args:
        texts: names of the text shards.
    """
    parts, shapes = [], {}
    for shard in sorted(clips):
        part, shape = _windows_of(folder / "latents" / shard, set(clips[shard]))
        parts.append(part)
        shapes.setdefault(str(shape), (shard, shape))
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.values())[:2]
        raise UserError(
            f"{folder}: {one} and {other} are of different kinds ({first}, {second}); make the dataset anew"
        )
    if not parts:
        raise UserError(f"{folder}: no clip was accepted, so there is nothing to index; mend the clips")
    windows = pa.concat_tables(parts)
    windows, width = _with_texts(windows, folder, texts)
    windows = windows.sort_by([(name, "ascending") for name in SORTED_BY])
    _, shape = next(iter(shapes.values()))
    return windows.combine_chunks(), {**shape, "text_width": width}


def read_index(
    folder: Path, *, files_sha256: str, sha256: str, windows: int, columns: Sequence[str] | None = None
) -> IndexFile:
    """The index that the manifest names, its bytes checked against its hash.

    Args:
        folder: the dataset.
        files_sha256: the manifest's hash of the dataset's files.
        sha256: the manifest's hash of the index (`index_sha256`).
        windows: number of windows by the manifest.
        columns: which to read besides the scores (all).

    Raises:
        UserError: it is missing, damaged, or another dataset's.
    """
    path = index_path(folder, files_sha256=files_sha256)
    if not path.is_file():
        raise UserError(f"{path}: missing; write it again with: {UPGRADE} {folder}")
    if file_sha256(path) != sha256:
        raise UserError(f"{path}: damaged, or another dataset's; write it again with: {UPGRADE} {folder}")
    few: Any = list(FEW)
    file = pq.ParquetFile(path, read_dictionary=few, page_checksum_verification=True, **THRIFT)  # type: ignore[arg-type]
    with file:
        footer, names = footer_of(file), file.schema_arrow.names
        _check(file, footer, path=path, files_sha256=files_sha256, windows=windows)
        scores = [name for name in names if name.startswith(SCORE)]
        wanted = None if columns is None else [*columns, *scores]
        table = file.read(columns=wanted, use_threads=False)
    return IndexFile(
        table=table.combine_chunks(),
        scores=tuple(name.removeprefix(SCORE) for name in scores),
        video_shape=tuple(footer["video_shape"]),
        audio_shape=tuple(footer["audio_shape"]),
        text_width=footer["text_width"],
    )


def _check(
    file: pq.ParquetFile, footer: dict[str, Any], *, path: Path, files_sha256: str, windows: int
) -> None:
    expected = {*OF_A_WINDOW, *PLACES}
    found = {name for name in file.schema_arrow.names if not name.startswith(SCORE)}
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    if (
        found != expected
        or footer.get("files_sha256") != files_sha256
        or file.metadata.num_rows != windows
        or any(group.total_byte_size > SLACK + BYTES_PER_ROW * group.num_rows for group in groups)
    ):
        raise UserError(
            f"{path}: not the index of this dataset; write it again with: {UPGRADE} {path.parents[1]}"
        )


def _windows_of(path: Path, keys: Collection[tuple[str, str]]) -> tuple[pa.Table, dict[str, Any]]:
    """The windows of a shard that belong to the clips `keys`, and what must be the same in all shards."""
    with open_table(path) as file:
        schema = file.schema_arrow
    scores = [name for name in schema.names if name.startswith(SCORE)]
    table = read_table(path, columns=[*OF_A_WINDOW, *scores]).select([*OF_A_WINDOW, *scores])
    table = table.append_column("shard", pa.array([path.name] * table.num_rows, pa.string()))
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int32()))
    held = zip(table.column("dataset").to_pylist(), table.column("clip_id").to_pylist(), strict=True)
    counts = [key in keys for key in held]
    if not all(counts):
        table = table.filter(pa.array(counts))
    shapes = {name: list(schema.field(name).type.shape) for name in MOMENTS}
    shape = {"video_shape": shapes["video_mean"], "audio_shape": shapes["audio_mean"]}
    return table.replace_schema_metadata(None), {**shape, "scores": scores}


def _with_texts(windows: pa.Table, folder: Path, texts: Sequence[str]) -> tuple[pa.Table, int]:
    """The windows with the places of their captions' embeddings, and the embeddings' width."""
    parts = []
    for name in sorted(texts):
        table = read_table(folder / "text" / name, expected=TEXT_SCHEMA, columns=["key", "shape"])
        columns = {
            "key": table.column("key"),
            "text_shard": pa.array([name] * table.num_rows, pa.string()),
            "text_row": pa.array(range(table.num_rows), pa.int32()),
            "text_tokens": pc.list_element(table.column("shape"), 0),  # type: ignore[attr-defined]
            "width": pc.list_element(table.column("shape"), 1),  # type: ignore[attr-defined]
        }
        parts.append(pa.table(columns))
    if not parts:
        raise UserError(f"{folder}: no captions' embeddings; run precompute_latents.py again")
    found = pa.concat_tables(parts).combine_chunks()
    where = pc.index_in(windows.column("caption_key"), value_set=found.column("key"))  # type: ignore[attr-defined]
    if where.null_count:
        row = pc.index(pc.is_null(where), pa.scalar(True)).as_py()  # type: ignore[attr-defined]
        name = "/".join(str(windows.column(key)[row]) for key in SORTED_BY[:2])
        raise UserError(
            f"{folder}: {where.null_count} windows have no text embedding, first of clip {name}; run "
            "precompute_latents.py again"
        )
    widths = pc.unique(found.column("width")).to_pylist()  # type: ignore[attr-defined]
    if len(widths) > 1:
        raise UserError(f"{folder}: embeddings of widths {widths}; make the dataset anew")
    for name in ("text_shard", "text_row", "text_tokens"):
        windows = windows.append_column(name, found.column(name).take(where))
    return windows, widths[0]
