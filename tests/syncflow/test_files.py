import errno
from pathlib import Path

import pytest

from syncflow.errors import UserError
from syncflow.files import read_json, replacing, whole_file, write_whole


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
