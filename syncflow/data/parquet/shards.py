"""Parquet files as the unit of work: written whole or not at all, verified when read."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import syncflow.data.parquet.schema as schema
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.records import LatentRow, TextEmbedding

ROWS_PER_GROUP = 8  # a window is about 0.2 MB at the paper's size: a random read costs 1.6 MB
MAX_ROWS = 1 << 16
SLACK = 64 << 20  # bytes that a column's pieces may take beside the numbers of a tensor
THRIFT = {"thrift_string_size_limit": 64 << 20, "thrift_container_size_limit": 1 << 20}  # of a footer
FOOTER = b"syncflow"
Expected = pa.Schema | tuple[pa.Schema, ...] | None


def shard_name(ids: Iterable[tuple[str, str]]) -> str:
    """The name of the shard that holds the clips `ids` (dataset, clip id); their order does not matter."""
    text = json.dumps(sorted(ids)).encode()
    return f"{hashlib.sha256(text).hexdigest()[:24]}.parquet"


def write_table(
    table: pa.Table, path: Path, *, footer: Mapping[str, Any], rows_per_group: int = ROWS_PER_GROUP
) -> None:
    """Write a table under a temporary name, flush it to the disk and rename it.

    Args:
        rows_per_group: rows that are read together.

    Raises:
        UserError: the disk is full, or the folder cannot be written; the temporary file is gone.
    """
    footer = {"schema_version": schema.SCHEMA_VERSION, **footer}
    table = table.replace_schema_metadata({FOOTER: json.dumps(footer, sort_keys=True, default=str)})
    strings = [field.name for field in table.schema if pa.types.is_string(field.type)]
    with whole_file(path) as stream:
        pq.write_table(
            table,
            stream,
            row_group_size=rows_per_group,
            compression="zstd",
            use_dictionary=strings,  # type: ignore[arg-type]
            write_page_checksum=True,
        )


def open_table(path: Path, *, expected: Expected = None) -> pq.ParquetFile:
    """Open a shard of ours; its pages are verified against their checksums as they are read.

    Args:
        path: the file.
        expected: the exact columns, or the choices of them; None: those of a latents table.

    Raises:
        UserError: damaged, of another schema or version, or more rows than a shard may have.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True, **THRIFT)  # type: ignore[arg-type]
        columns, raw = file.schema_arrow, (file.metadata.metadata or {}).get(FOOTER)
        footer = json.loads(raw) if raw else {}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    version = footer.get("schema_version")
    if version != schema.SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema version {version}, expected {schema.SCHEMA_VERSION}; precompute again"
        )
    if file.metadata.num_rows > MAX_ROWS:
        raise UserError(f"{path}: claims {file.metadata.num_rows} rows, a shard has at most {MAX_ROWS}")
    if expected is None:
        schema.check_latent_schema(columns.remove_metadata(), where=str(path))
    else:
        choices: tuple[pa.Schema, ...] = (expected,) if isinstance(expected, pa.Schema) else tuple(expected)
        if not any(columns.remove_metadata().equals(choice) for choice in choices):
            raise UserError(f"{path}: columns {columns.names}, expected {choices[0].names}")
    return file


def reopen_table(path: Path, footer: pq.FileMetaData) -> pq.ParquetFile:
    """Open a shard that `open_table` let through before, its parsed footer in hand.

    Raises:
        UserError: it cannot be opened.
    """
    try:
        return pq.ParquetFile(path, metadata=footer, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def footer_of(file: pq.ParquetFile) -> dict[str, Any]:
    """What `write_table` was given as `footer`, and the schema version."""
    return json.loads(file.metadata.metadata[FOOTER])


def read_table(
    path: Path,
    *,
    expected: Expected = None,
    columns: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
) -> pa.Table:
    """Columns (all) and row groups (all) of a shard, verified.

    Args:
        expected: columns and their types.
        columns: names to read; None: all.

    Raises:
        UserError: as `open_table`, for a row group too large, or a page that does not match its checksum.
    """
    file = open_table(path, expected=expected)
    try:
        chosen = range(file.num_row_groups) if groups is None else groups
        check_sizes(file, chosen, where=str(path))
        return file.read_row_groups(list(chosen), columns=None if columns is None else list(columns))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    finally:
        file.close()


def check_sizes(file: pq.ParquetFile, groups: Iterable[int], *, where: str) -> None:
    """Refuse row groups of more bytes than their columns can need: a small file may unpack to many GB.

    Args:
        where: the file, for the message.

    Raises:
        UserError: more rows in a group than the file may have, or a column of more bytes than its rows need.
    """
    numbers = {
        field.name: math.prod(field.type.shape)
        for field in file.schema_arrow
        if isinstance(field.type, pa.FixedShapeTensorType)
    }
    most_rows = ROWS_PER_GROUP if numbers else MAX_ROWS
    for number in groups:
        group = file.metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            name, size = column.path_in_schema.split(".")[0], column.total_uncompressed_size
            if group.num_rows > most_rows or size > 2 * group.num_rows * numbers.get(name, 0) + SLACK:
                raise UserError(
                    f"{where}: row group {number} claims {group.num_rows} rows and {size} bytes of {name}, "
                    "more than a shard's; precompute again"
                )


def damaged(path: Path, error: Exception) -> UserError:
    """The one line for a file that is not what was written."""
    reason = " ".join(str(error).split())[:160]
    return UserError(
        f"{path}: damaged or unreadable ({reason}); run precompute_latents.py again with --repair"
    )


def write_shard(path: Path, rows: Sequence[LatentRow], *, footer: Mapping[str, Any]) -> None:
    """Write the rows of a shard; `footer` holds the recipe and the resolved settings that made it."""
    write_table(schema.latents_table(rows), path, footer=footer)


def read_rows(path: Path) -> list[LatentRow]:
    """Every row of a shard, verified."""
    return schema.rows_of(read_table(path))


def write_texts(path: Path, texts: Sequence[TextEmbedding], *, footer: Mapping[str, Any]) -> None:
    """Write the embeddings of a shard's new captions."""
    write_table(schema.texts_table(texts), path, footer=footer)


def read_texts(path: Path) -> list[TextEmbedding]:
    """Every embedding of a text shard, verified."""
    return schema.texts_of(read_table(path, expected=schema.TEXT_SCHEMA), where=str(path))
