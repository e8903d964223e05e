"""VGGSound: the official csv, the namings of its files, the list of bad clips."""

import csv
import gzip
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.sources import read_source
from preprocessing.sources.config import SourceConfig
from preprocessing.sources.vggsound import parse_name, read_known_bad
from syncflow.errors import UserError

YOUTUBE = st.text("ABCabc019_-", min_size=11, max_size=11)


def vggsound(root: Path, text: str | bytes) -> SourceConfig:
    index = root / "vggsound.csv"
    index.write_bytes(text.encode() if isinstance(text, str) else text)
    (root / "abcdefghijk_000030.mp4").touch()
    return SourceConfig(kind="vggsound", root=str(root), index=index)


@given(YOUTUBE, st.integers(0, 999_999))
def test_every_naming_of_a_vggsound_clip_is_parsed_back(video, start):
    if start <= 99_999:
        assert parse_name(f"{video}_{start:06d}.mp4") == (video, start)
    assert parse_name(f"{video}_{1000 * start}_{1000 * start + 10_000}.mp4") == (video, start)
    assert parse_name(f"{video}_{start}.000.MP4") == (video, start)
    assert parse_name(f"{video}_{start}_{start + 10}.mp4") == (video, start)


@pytest.mark.parametrize(
    "name", ["abc_000030.mp4", "abcdefghijk_000030.txt", "../abcdefgh_000030.mp4", "x.mp4"]
)
def test_a_name_of_another_form_is_no_vggsound_clip(name):
    assert parse_name(name) is None


def test_vggsound_rows_become_clips_with_absolute_paths_and_sentences(tmp_path):
    text = '\ufeff"abcdefghijk",30,"bird chirping,\r\ntweeting",train\r\n-bcdefghij_,0,x,test\r\n'
    found, missing = read_source(vggsound(tmp_path, text))
    assert found.path == tmp_path / "abcdefghijk_000030.mp4" and found.path.is_absolute()
    assert found.label == "The sound of bird chirping, tweeting."
    assert (missing.clip_id, missing.split, missing.path.exists()) == ("-bcdefghij__000000", "test", False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abcdefghijk,30,x,train\nabcdefghijk,30,x,train\n", "line 2.*line 1"),
        ("abcdefghijk,30,x,train\nabcdefghijk,40,x,test\n", "line 2.*in test, but in train on line 1"),
        ("abcdefghijk,30,x,train\n../../../etc,30,x,train\n", "line 2.*11 characters"),
        ("abcdefghijk,30,x,train\nabcdefghij\0,30,x,train\n", "line 2"),
        ("abcdefghijk,30,bird, tweeting,train\n", "line 1.*5 fields"),
        ("abcdefghijk,3.5,x,train\n", "line 1.*whole seconds"),
        ("abcdefghijk,30,x,valid\n", "line 1.*train or test"),
        (b"abcdefghijk,30,x,train\nabcdefghijl,30,caf\xe9,train\n", "line 2: not UTF-8"),
    ],
)
def test_a_bad_vggsound_row_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        list(read_source(vggsound(tmp_path, text)))


def test_an_index_of_190k_rows_is_read_within_ten_seconds(tmp_path, shared):
    source = shared / "data" / "vggsound_ids_specvqgan_split.csv.gz"
    index = tmp_path / "vggsound.csv"
    with gzip.open(source, "rt", newline="") as rows, index.open("w", newline="") as out:
        writer = csv.writer(out)
        for row in csv.DictReader(rows):
            writer.writerow(
                (row["ytid"], row["start_s"], "a, b", "test" if row["split"] == "test" else "train")
            )
    (tmp_path / "abcdefghijk_000030.mp4").touch()
    started = time.process_time()
    count = sum(1 for _ in read_source(SourceConfig(kind="vggsound", root=str(tmp_path), index=index)))
    assert count > 180_000 and time.process_time() - started < 10


def test_the_official_rows_that_could_be_had_are_read_whole(tmp_path, shared):
    (tmp_path / "abcdefghijk_000030.mp4").touch()
    index = shared / "data" / "vggsound_partial.csv.gz"
    refs = list(read_source(SourceConfig(kind="vggsound", root=str(tmp_path), index=index)))
    assert len(refs) == 17_494 and len({ref.clip_id for ref in refs}) == 17_494
    assert {"train", "test"} == {ref.split for ref in refs} and all(ref.label for ref in refs)


def test_clips_of_a_known_bad_list_are_marked_by_any_naming(tmp_path):
    config = vggsound(tmp_path, "abcdefghijk,30,x,train\n-bcdefghij_,0,x,test\nabcdefghijl,1,x,train\n")
    bad = tmp_path / "bad.csv"
    bad.write_text("clip,reason\nabcdefghijk_30000_40000,Silent audio\n-bcdefghij__000000,broken\nx,y\n")
    refs = read_source(config.model_copy(update={"known_bad": bad}))
    assert [ref.known_bad for ref in refs] == ["silent_audio", "broken", ""]


def test_the_real_known_bad_list_is_read(shared):
    assert len(read_known_bad(shared / "data" / "vggsound_known_bad.csv.gz")) > 2000
