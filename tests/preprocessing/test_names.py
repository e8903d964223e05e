"""Any file name that a file system can hold is one row, and a name is found again to the letter."""

import os
import unicodedata
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.job import precompute
from preprocessing.sources import read_source
from preprocessing.sources.config import SourceConfig
from syncflow.data.index import WindowEntry
from syncflow.data.inspect import file_name
from syncflow.data.parquet import read_ledger
from syncflow.media.suffixes import VIDEO_SUFFIXES
from syncflow.printable import printable, storable
from syncflow.storage import location
from tests.precompute_case import job, write_clip_number, write_weights

ODD = [
    "ideographic\u3000space.mp4",
    "no\u00a0break.mp4",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467.mp4",
    "zero\u200bwidth.mp4",
    "two  spaces.mp4",
    "line\nbreak.mp4",
    "line\u2028separator.mp4",
    "back\\slash.mp4",
    "looks\\xffescaped.mp4",
    'quote\'s "and" $(touch x).mp4',
    "-dash.mp4",
    "question?.mp4",
    "a::b.mp4",
    unicodedata.normalize("NFC", "café.mp4"),
    unicodedata.normalize("NFD", "café.mp4"),
    os.fsdecode(b"latin\xff1.mp4"),
    "x" * 250 + ".mp4",
]


@given(st.lists(st.text(st.characters(codec=None), max_size=8), max_size=6, unique=True))
def test_two_names_never_have_one_text(names: list[str]) -> None:
    texts = [printable(name) for name in names]
    assert len(set(texts)) == len(names)
    for text in texts:
        assert storable(text) == text and not any(sign in text for sign in "\n\r\x00\u2028\u202e")


def test_what_can_be_printed_is_its_own_text() -> None:
    for name in ("a/b c.mp4", "日本語 。.mp4", "café\u00a0\u3000\u200d.mp4", "C:\\clips\\a.mp4"):
        assert printable(name) == name
    assert printable(os.fsdecode(b"a\xffb\n")) == "a\\xffb\\u000a"
    assert printable("a\\xffb") == "a\\\\xffb"


def test_every_file_of_a_folder_is_one_row_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    root, made = tmp_path / "clips", tmp_path / "made.mp4"
    root.mkdir()
    write_clip_number(made, 0)
    for name in ODD:
        os.link(made, root / name)
    write_weights(tmp_path / "weights")
    config = job(root, tmp_path / "weights", tmp_path / "out")
    precompute(config)
    rows = read_ledger(tmp_path / "out" / "ledger")
    assert len(rows) == len(ODD) and {row.kind for row in rows.values()} == {"accepted"}
    assert {printable(name) for name in ODD} == {clip_id for _, clip_id in rows}
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "latents").iterdir()}
    precompute(config)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "latents").iterdir()} == files


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_names_files_to_the_letter(tmp_path: Path, kind: str) -> None:
    names = [name for name in ODD if storable(name) == name]
    index, captions = tmp_path / f"index.{kind}", tmp_path / f"captions.{kind}"
    rows = [{"path": name, "caption": f" a  dog\n{k} "} for k, name in enumerate(names)]
    told = [{"clip_id": name, "caption": f"a cat {k}"} for k, name in enumerate(names)]
    for path, table in ((index, rows), (captions, told)):
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(table), path)
        else:
            quoted = [[value.replace('"', '""') for value in row.values()] for row in table]
            lines = [",".join(table[0]), *('"' + '","'.join(row) + '"' for row in quoted)]
            path.write_bytes("\r\n".join(lines).encode())
    config = SourceConfig(kind="manifest", root=str(tmp_path), index=index)
    refs = list(read_source(config))
    assert [ref.path for ref in refs] == [tmp_path / name for name in names]
    assert [ref.caption for ref in refs] == [f"a dog {k}" for k in range(len(names))]
    refs = list(read_source(config.model_copy(update={"captions": captions})))
    assert [ref.caption for ref in refs] == [f"a cat {k}" for k in range(len(names))]


def test_odd_names_behind_a_url_are_rows_too(tmp_path: Path) -> None:
    names = ["question?.mp4", "two  spaces.mp4", "[x]*.mp4", "#1.mp4"]
    store = fsspec.filesystem("memory")
    for name in names:
        store.pipe_file(f"/odd/{name}", name.encode())
    refs = list(read_source(SourceConfig(root="memory://odd")))
    assert sorted(ref.clip_id for ref in refs) == sorted(names)
    for ref in refs:
        assert ref.path.open().read() == ref.clip_id.encode()
    chained = location("memory://odd") / "a::memory://odd/question?.mp4"
    with pytest.raises(OSError):  # a name opens no other address
        chained.open()


def test_a_deep_path_is_one_row(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 200] * 3)
    deep.mkdir(parents=True)
    (deep / "a.mp4").touch()
    (ref,) = read_source(SourceConfig(root=str(tmp_path)))
    assert ref.clip_id == str((deep / "a.mp4").relative_to(tmp_path))


def test_every_media_suffix_is_taken_in_any_case(tmp_path: Path) -> None:
    for number, suffix in enumerate(sorted(VIDEO_SUFFIXES)):
        (tmp_path / f"{number}{suffix.upper()}").touch()
    assert len(list(read_source(SourceConfig(root=str(tmp_path))))) == len(VIDEO_SUFFIXES)


def test_windows_of_ids_that_differ_are_written_to_files_that_differ() -> None:
    def name(clip_id: str) -> str:
        entry = object.__new__(WindowEntry)
        object.__setattr__(entry, "clip_id", clip_id)
        object.__setattr__(entry, "window", 0)
        return file_name(entry)

    ids = ["a/b", "a_b", "a b", "-a_b", "x" * 200, "x" * 201]
    assert len({name(clip_id) for clip_id in ids}) == len(ids) and name("a_b") == "a_b-0.mp4"
    assert all("/" not in name(clip_id) for clip_id in ids)
