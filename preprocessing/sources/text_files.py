"""Index files as people keep them: a BOM and any newlines are taken, values are left as they are."""

import csv
import gzip
import io
import json
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
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid csv ({error}); quote the field") from None


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
