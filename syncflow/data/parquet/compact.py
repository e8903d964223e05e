"""Many small ledger files -> few, so that a dataset of 200,000 clips opens in seconds."""

import hashlib
from pathlib import Path

import pyarrow as pa

from syncflow.data.parquet.ledger import LEDGER_SCHEMA, ledger_files
from syncflow.data.parquet.shards import MAX_ROWS, footer_of, open_table, read_table, write_table

BEYOND = 256  # files
SMALL = 4096  # rows: a file with as many is left alone


def compact_ledger(folder: Path, *, beyond: int = BEYOND) -> None:
    """Merge the small files of `<dataset>/ledger` when there are more than `beyond`; no row is left out.

    For the job that holds the dataset's lock. The merged file is whole on the disk before its parts go, so a
    kill in between leaves some rows twice, and they count once.

    Raises:
        UserError: a ledger file is damaged, or the disk is full.
    """
    files = ledger_files(folder)
    if len(files) <= beyond:
        return
    small = [path for path in files if _rows(path) < SMALL]
    if len(small) <= beyond:
        return
    for start in range(0, len(small), SMALL):
        _merge(folder, small[start : start + SMALL])


def _rows(path: Path) -> int:
    with open_table(path, expected=LEDGER_SCHEMA) as file:
        return file.metadata.num_rows


def _merge(folder: Path, parts: list[Path]) -> None:
    files: dict[str, str] = {}
    for path in parts:
        with open_table(path, expected=LEDGER_SCHEMA) as file:
            files |= footer_of(file)["files"]
    table = pa.concat_tables([read_table(path, expected=LEDGER_SCHEMA) for path in parts])
    name = hashlib.sha256("\n".join(path.name for path in parts).encode()).hexdigest()[:24]
    for start in range(0, table.num_rows, MAX_ROWS):
        part = table.slice(start, MAX_ROWS)
        write_table(
            part, folder / f"{name}-{start}.parquet", footer={"files": files}, rows_per_group=MAX_ROWS
        )
    for path in parts:
        path.unlink()
