"""Put aside the files of a dataset that are not as they were committed, so that a job does them again."""

from collections.abc import Iterator
from pathlib import Path

from syncflow.data.parquet.ledger import Ledger
from syncflow.files import cannot_write
from syncflow.hashing import file_sha256


def put_damaged_aside(folder: Path) -> Iterator[Path]:
    """Rename every damaged shard and ledger file out of the tables' way; gives their former paths.

    A shard's clips are then done again, a text shard's captions embedded again, and the clips of a ledger
    file counted as new. What was put aside goes when the job is done.

    Raises:
        UserError: a file cannot be renamed.
    """
    ledger = Ledger.read(folder / "ledger", damaged_too=True)
    for path in ledger.damaged:
        yield _put_aside(path)
    for name, sha256 in sorted(ledger.committed.items()):
        path = folder / name
        if path.is_file() and file_sha256(path) != sha256:
            yield _put_aside(path)


def _put_aside(path: Path) -> Path:
    try:
        path.rename(path.with_name(f".{path.name}.damaged.tmp"))
    except OSError as error:
        raise cannot_write(path, error) from None
    return path
