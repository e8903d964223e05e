"""Many small ledger files -> few while a job runs, so that a dataset of 200,000 clips opens in seconds."""

from collections.abc import Collection
from pathlib import Path

from syncflow.data.parquet.ledger import SCHEMAS, ledger_files, read_ledger_file, write_ledger
from syncflow.data.parquet.shards import MAX_ROWS, footer_of, open_table, shard_name

BEYOND = 256  # files
SMALL = 4096  # rows: a file with as many is left alone


def compact_ledger(folder: Path, *, beyond: int = BEYOND, keep: Collection[str] = ()) -> None:
    """Merge the small files of `<dataset>/ledger` when there are more than `beyond`; no row is left out.

    For the job that holds the dataset's lock. The merged file takes the place of its parts from the moment it
    is whole on the disk; they go afterwards.

    Args:
        folder: the ledger's folder.
        beyond: how many files may stay as they are.
        keep: names of files that stay, those of the dataset that is finished already.

    Raises:
        UserError: a ledger file is damaged, or the disk is full.
    """
    files = [path for path in ledger_files(folder) if path.name not in keep]
    if len(files) <= beyond:
        return
    small = [path for path in files if _rows(path) < SMALL]
    if len(small) <= beyond:
        return
    for start in range(0, len(small), SMALL):
        _merge(folder, small[start : start + SMALL])


def _rows(path: Path) -> int:
    with open_table(path, expected=SCHEMAS) as file:
        return file.metadata.num_rows


def _merge(folder: Path, parts: list[Path]) -> None:
    files: dict[str, str] = {}
    replaces, settled = {path.name for path in parts}, -1
    for path in parts:
        with open_table(path, expected=SCHEMAS) as file:
            footer = footer_of(file)
        files |= footer["files"]
        replaces |= set(footer.get("replaces", ()))
        settled = max(settled, footer.get("settled", -1))
    rows = [row for path in parts for row in read_ledger_file(path)]
    stem = shard_name(("merged", path.name) for path in parts).removesuffix(".parquet")
    starts = range(0, len(rows), MAX_ROWS)
    for start in starts:
        last = start == starts[-1]
        write_ledger(
            folder / f"{stem}-{start}.parquet",
            rows[start : start + MAX_ROWS],
            files=files if last else {},
            replaces=replaces if last else (),
            settled=settled,
        )
    for path in parts:
        path.unlink()
