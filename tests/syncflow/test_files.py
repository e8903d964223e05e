import errno
import re
from pathlib import Path

import pytest

from syncflow.errors import UserError
from syncflow.files import read_json, replacing, require_writable, whole_file, write_whole


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    write_whole(path, "old\r\n")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with (
        pytest.raises(UserError, match=r"table.csv: cannot be written .*; what was there is kept"),
        whole_file(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"old\r\n" and [*path.parent.iterdir()] == [path]


def test_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("\u00e4" * 125 + ".txt")
    write_whole(path, "whole")
    assert path.read_text() == "whole" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not there; make it"),
        ("{", "cannot be read .*; copy it"),
        ("[]", "expected a mapping; copy it"),
    ],
)
def test_json_that_is_no_mapping_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_json(tmp_path / "a.json", absent="make it", damaged="copy it")


@pytest.mark.parametrize("below", ["", "runs/audio"])
def test_a_folder_where_a_file_is_in_the_way_is_refused_with_its_name(tmp_path: Path, below: str) -> None:
    film = tmp_path / "film.mp4"
    film.touch()
    with pytest.raises(UserError) as caught:
        require_writable(film / below)
    assert str(caught.value) == f"{film / below}: cannot be written, for {film} is a file; give a folder"
    note = film / below / "note.json"
    with pytest.raises(UserError) as caught, whole_file(note):
        pass
    assert str(caught.value) == f"{note}: cannot be written, for {film} is a file; give a folder"


def test_every_command_makes_its_folder_so(repository: Path) -> None:
    """A bare `mkdir` of an output ends in a traceback where a file, or the disk's state, is in the way."""
    bare = re.compile(r"\bconfig\.(output|folder)\.mkdir\(")
    trees = ("syncflow", "preprocessing", "infra", "pipelines")
    sources = [path for tree in trees for path in (repository / tree).rglob("*.py")]
    assert len(sources) > 300
    assert [path.name for path in sources if bare.search(path.read_text(encoding="utf-8"))] == []
