"""Commits: each group of clips once, whoever is killed and told to do it again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from syncflow.data.parquet.ledger import committed_files, read_ledger
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.records import EncodedClip


def writer_of(folder: Path) -> DatasetWriter:
    return DatasetWriter(folder, recipe="recipe", owner="", footer={})


@pytest.mark.parametrize("same_process", [True, False])
def test_clips_that_come_again_after_their_commit_keep_their_captions(
    tmp_path: Path, make_clip: Callable[..., EncodedClip], same_process: bool
) -> None:
    """A worker killed between its commit and its answer: Ray hands the same clips out once more."""
    clips = [make_clip(number) for number in range(4)]
    first = writer_of(tmp_path)
    rows = first.commit(clips)
    files = committed_files(tmp_path / "ledger")
    assert any(name.startswith("text/") for name in files)
    again = (first if same_process else writer_of(tmp_path)).commit(clips)
    assert again == rows
    assert committed_files(tmp_path / "ledger") == files
    assert len(read_ledger(tmp_path / "ledger")) == 4


def test_another_attempt_is_a_commit_of_its_own(
    tmp_path: Path, make_clip: Callable[..., EncodedClip]
) -> None:
    clips = [make_clip(number) for number in range(4)]
    writer_of(tmp_path).commit(clips)
    rows = writer_of(tmp_path).commit(clips, attempt=1)
    assert {row.attempt for row in rows} == {1}
    assert all(row.attempt == 1 for row in read_ledger(tmp_path / "ledger").values())
