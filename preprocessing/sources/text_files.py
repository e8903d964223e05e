"""Tables as people keep them: a BOM and any newlines are taken, values are left as they are."""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syncflow.errors import UserError
from syncflow.storage import Location

MOST_BYTES = 2 << 30  # of an index, unpacked


def read_text(path: Location) -> str:
    """A UTF-8 file's text, without BOM; `.gz` is unpacked.

    Raises:
        UserError: no such file, too large, or not UTF-8 (with the line's number).
    """
    try:
        data = path.read_bytes()
        data = _unpack(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); give an existing file") from None
    if len(data) > MOST_BYTES:
        raise UserError(f"{path}: over {MOST_BYTES >> 20} MiB; give a smaller index")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None


def _unpack(data: bytes) -> bytes:
    """At most a byte more than may be: what unpacks to more is refused, whatever its header says."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        return stream.read(MOST_BYTES + 1)


def read_lines(path: Location) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and stripped lines; empty ones are left out."""
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def read_csv_rows(path: Location) -> Iterator[tuple[int, list[str]]]:
    """The number of a row's last line, and its fields to the letter: some are names of files."""
    text = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a caption may be longer than 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid csv ({error}); quote the field") from None


def read_table(path: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a csv with a header, a jsonl or a Parquet file, by its suffix; text may be packed (`.gz`).

    Args:
        columns: those that are read of a Parquet file, where it has them.

    Raises:
        UserError: another suffix, or (with the line's number) what is no row.
    """
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix
    if path.suffix == ".parquet":
        return read_parquet(path, columns=columns)
    if suffix not in (".csv", ".jsonl"):
        raise UserError(f"{path}: expected a table that ends in .csv, .jsonl, .csv.gz, .jsonl.gz or .parquet")
    return read_jsonl(path) if suffix == ".jsonl" else read_csv_table(path)


def is_absent(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN (a gap of pandas and polars) or blank text."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""


def cell_text(value: Any, where: str, column: str) -> str:
    """A cell's text to the letter; a whole number's digits; empty where there is nothing.

    Args:
        column: its name, for the message.

    Raises:
        UserError: (with `where`) a value of another type.
    """
    if is_absent(value):
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UserError(f"{where}: {column} is {type(value).__name__} {str(value)[:40]}; expected text")
    return str(value)


def read_csv_table(path: Location) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a csv with a header, by column name."""
    header: list[str] | None = None
    for number, row in read_csv_rows(path):
        if header is None:
            header = [name.strip() for name in row]
        elif len(row) != len(header):
            raise UserError(f"{path}, line {number}: {len(row)} fields; expected {len(header)} as the header")
        else:
            yield number, dict(zip(header, row, strict=True))


def read_jsonl(path: Location) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON objects, one a line."""
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            told = getattr(error, "msg", "nested too deep")
            raise UserError(f"{path}, line {number}: not valid JSON ({told})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row


def read_parquet(path: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by number from 1; only `columns`, where the table has them, are read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            names = [name for name in columns if name in table.schema_arrow.names]
            number = 0
            for batch in table.iter_batches(columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: no readable Parquet table ({' '.join(str(error).split())[:200]})") from None
