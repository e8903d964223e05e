"""Index files as people keep them: BOM, CRLF and embedded newlines are normalised, the rest is refused."""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from syncflow.errors import UserError


def read_text(path: Path) -> str:
    """A UTF-8 file's text, without BOM and with plain newlines; `.gz` is unpacked.

    Raises:
        UserError: no such file, or not UTF-8 (with the line's number).
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); give an existing file") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and stripped lines; empty ones are left out."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def read_csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of a row's last line, and its fields with embedded newlines made spaces."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, [" ".join(field.split()) for field in row]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid csv ({error}); quote the field") from None


def read_csv_table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a csv with a header, by column name."""
    header: list[str] | None = None
    for number, row in read_csv_rows(path):
        if header is None:
            header = row
        elif len(row) != len(header):
            raise UserError(f"{path}, line {number}: {len(row)} fields; expected {len(header)} as the header")
        else:
            yield number, dict(zip(header, row, strict=True))


def read_captions(path: Path) -> dict[str, str]:
    """Clip id to caption, from csv (header clip_id,caption) or jsonl.

    Raises:
        UserError: a line without both, or an id that comes twice.
    """
    captions: dict[str, str] = {}
    for number, row in _jsonl(path) if path.suffix == ".jsonl" else read_csv_table(path):
        clip_id, caption = row.get("clip_id"), row.get("caption")
        if not isinstance(clip_id, str) or not isinstance(caption, str):
            raise UserError(f"{path}, line {number}: expected clip_id and caption; got {sorted(row)}")
        if clip_id in captions:
            raise UserError(f"{path}, line {number}: clip_id {clip_id!r} comes twice; keep one")
        captions[clip_id] = " ".join(caption.split())
    return captions


def _jsonl(path: Path) -> Iterable[tuple[int, dict]]:
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error.msg})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row
