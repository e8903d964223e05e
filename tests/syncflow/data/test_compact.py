import dataclasses
from pathlib import Path

import pytest

from syncflow.data.parquet import LedgerRow, read_ledger, write_ledger
from syncflow.data.parquet.compact import compact_ledger
from syncflow.data.parquet.ledger import committed_files


def row(number: int, *, attempt: int = 0) -> LedgerRow:
    values: dict = {field.name: "" for field in dataclasses.fields(LedgerRow)}
    values |= {"dataset": "set", "clip_id": f"clip{number}", "kind": "accepted", "attempt": attempt}
    values |= {"source_bytes": 0, "source_mtime_ns": 0, "windows": 1}
    return LedgerRow(**values)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    for number in range(12):
        write_ledger(
            tmp_path / f"{number:02}.parquet", [row(number)], files={f"latents/{number}": str(number)}
        )
    write_ledger(tmp_path / "again.parquet", [row(3, attempt=1)], files={"latents/again": "x"})
    return tmp_path


def test_merged_ledger_says_the_same(ledger: Path) -> None:
    rows, files = read_ledger(ledger), committed_files(ledger)
    compact_ledger(ledger, beyond=4)
    assert len(list(ledger.iterdir())) == 1
    assert read_ledger(ledger) == rows and committed_files(ledger) == files
    assert rows["set", "clip3"].attempt == 1


def test_few_files_are_left_alone(ledger: Path) -> None:
    before = sorted(ledger.iterdir())
    compact_ledger(ledger, beyond=13)
    assert sorted(ledger.iterdir()) == before


def test_kill_between_the_merged_file_and_its_parts_changes_nothing(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, files = read_ledger(ledger), committed_files(ledger)

    def die(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".parquet":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        compact_ledger(ledger, beyond=4)
    monkeypatch.undo()
    assert len(list(ledger.glob("*.parquet"))) == 14
    assert read_ledger(ledger) == rows and committed_files(ledger) == files
    compact_ledger(ledger, beyond=4)
    assert read_ledger(ledger) == rows and committed_files(ledger) == files
