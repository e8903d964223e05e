"""The columns of the three tables, and rows of them from records and back."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from syncflow.errors import UserError
from syncflow.hashing import settings_sha256
from syncflow.records import LatentRow, TextEmbedding

SCHEMA_VERSION = 1
MAX_NUMBERS = 1 << 24  # of one tensor: 32 MB in float16, far above any autoencoder here
MAX_LATENT = 1000.0  # largest mean, and deviation, of a normalised latent
SCORE = "score_"
MOMENTS = ("video_mean", "video_logvar", "audio_mean", "audio_logvar")

_PLAIN = {
    "dataset": pa.string(),
    "clip_id": pa.string(),
    "window": pa.int32(),
    "start_s": pa.float64(),
    "split": pa.string(),
    "caption": pa.string(),
    "caption_key": pa.string(),
    "caption_source": pa.string(),
    "source_sha256": pa.string(),
    "fingerprint": pa.string(),
}
_SHAPES = {"video_shape": pa.list_(pa.int32()), "audio_shape": pa.list_(pa.int32()), "dtype": pa.string()}
CONTENT = "content_sha256"

TEXT_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("tokens", pa.large_binary(), nullable=False),  # float16 l e, row by row, little-endian
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
    ]
)


def latent_schema(video_shape: Sequence[int], audio_shape: Sequence[int], scores: Sequence[str]) -> pa.Schema:
    """Columns of the latents table; moments are float16 tensors of a fixed shape.

    Args:
        video_shape: of the video's mean, `c t h w`.
        audio_shape: of the audio's mean, `n d`.
    """
    video = pa.fixed_shape_tensor(pa.float16(), list(video_shape))
    audio = pa.fixed_shape_tensor(pa.float16(), list(audio_shape))
    kinds: dict[str, pa.DataType] = dict(_PLAIN)
    kinds |= {SCORE + name: pa.float32() for name in sorted(scores)}
    kinds |= _SHAPES | {CONTENT: pa.string()}
    kinds |= dict(zip(MOMENTS, (video, video, audio, audio), strict=True))
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def content_sha256(row: LatentRow) -> str:
    """Hash of what training reads of a row: place, caption and moments."""
    digest = hashlib.sha256(
        f"{row.dataset}|{row.clip_id}|{row.window}|{row.start_s!r}|{row.caption_key}".encode()
    )
    for name in MOMENTS:
        tensor = getattr(row, name)
        digest.update(f"|{list(tensor.shape)}|".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def fingerprint(row: LatentRow, *, recipe: str) -> str:
    """Hash of everything that made a row: recipe, source, place and caption."""
    made_by = [recipe, row.source_sha256, row.dataset, row.clip_id, row.window, row.start_s]
    return settings_sha256([*made_by, row.split, row.caption_key, row.caption_source])


def latents_table(rows: Sequence[LatentRow]) -> pa.Table:
    """Rows as a table; all share the shapes and the score names of the first."""
    first = rows[0]
    schema = latent_schema(first.video_mean.shape, first.audio_mean.shape, list(first.scores))
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _PLAIN}
    for name in first.scores:
        columns[SCORE + name] = [row.scores[name] for row in rows]
    columns["video_shape"] = [list(row.video_mean.shape) for row in rows]
    columns["audio_shape"] = [list(row.audio_mean.shape) for row in rows]
    columns["dtype"] = ["float16"] * len(rows)
    columns[CONTENT] = [content_sha256(row) for row in rows]
    for name in MOMENTS:
        # pyarrow would write the strides of a transposed array as a permutation: another type of column
        stacked = np.ascontiguousarray(np.stack([getattr(row, name) for row in rows]))
        assert stacked.dtype == np.float16, f"{name} is {stacked.dtype}, not float16"
        columns[name] = pa.FixedShapeTensorArray.from_numpy_ndarray(stacked)
    arrays = [pa.array(columns[f.name], f.type) if f.name not in MOMENTS else columns[f.name] for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def check_latent_schema(schema: pa.Schema, *, where: str) -> None:
    """Refuse a table whose columns are not exactly ours, before any of it is read.

    Raises:
        UserError: a column too many, missing, of another type or place, or a tensor too large.
    """
    shapes = {}
    for name in MOMENTS:
        kind = schema.field(name).type if name in schema.names else None
        if not isinstance(kind, pa.FixedShapeTensorType) or math.prod(kind.shape) > MAX_NUMBERS:  # type: ignore[union-attr]
            raise UserError(f"{where}: column {name!r} is {kind}, expected a tensor of at most {MAX_NUMBERS}")
        shapes[name] = kind.shape  # type: ignore[union-attr]
    scores = [name.removeprefix(SCORE) for name in schema.names if name.startswith(SCORE)]
    expected = latent_schema(shapes["video_mean"], shapes["audio_mean"], scores)
    if not schema.equals(expected):
        wrong = next((n for n in (*schema.names, *expected.names) if _differs(n, schema, expected)), "order")
        raise UserError(f"{where}: column {wrong!r} is not that of schema version {SCHEMA_VERSION}")


def _differs(name: str, one: pa.Schema, other: pa.Schema) -> bool:
    return name not in one.names or name not in other.names or not one.field(name).equals(other.field(name))


def rows_of(table: pa.Table) -> list[LatentRow]:
    """Records of a table that `check_latent_schema` let through."""
    plain = {name: table.column(name).to_pylist() for name in _PLAIN}
    scores = {n.removeprefix(SCORE): table.column(n).to_pylist() for n in table.column_names if SCORE in n}
    tensors = {name: tensor_column(table, name) for name in MOMENTS}
    return [
        LatentRow(
            **{name: plain[name][i] for name in _PLAIN},
            scores={name: values[i] for name, values in scores.items()},
            **{name: tensors[name][i] for name in MOMENTS},
        )
        for i in range(table.num_rows)
    ]


def tensor_column(table: pa.Table, name: str) -> np.ndarray:
    """A moments column as one float16 array, rows first."""
    column = table.column(name)
    if not column.num_chunks:
        return np.empty((0, *column.type.shape), np.float16)
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in column.chunks])


def texts_table(texts: Sequence[TextEmbedding]) -> pa.Table:
    """Embeddings as a table."""
    columns: Mapping[str, list[Any]] = {
        "key": [text.key for text in texts],
        "caption": [text.caption for text in texts],
        "tokens": [np.ascontiguousarray(text.tokens, dtype="<f2").tobytes() for text in texts],
        "shape": [list(text.tokens.shape) for text in texts],
        "dtype": ["float16"] * len(texts),
    }
    return pa.Table.from_pydict(dict(columns), schema=TEXT_SCHEMA)


def texts_of(table: pa.Table, *, where: str) -> list[TextEmbedding]:
    """Records of a text table.

    Raises:
        UserError: an embedding's bytes do not fill its shape.
    """
    texts = []
    for row in table.to_pylist():
        if len(row["shape"]) != 2 or 2 * math.prod(row["shape"]) != len(row["tokens"]):
            raise UserError(f"{where}: caption {row['key']}: {len(row['tokens'])} bytes for {row['shape']}")
        tokens = np.frombuffer(row["tokens"], "<f2").reshape(row["shape"])
        texts.append(TextEmbedding(key=row["key"], caption=row["caption"], tokens=tokens))
    return texts
