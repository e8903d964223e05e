from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.sources import read_source
from preprocessing.sources.config import SourceConfig
from syncflow.errors import UserError
from syncflow.printable import printable

A, B = "2015-02-16-16-49-06", "2015-02-16-16-49-06-2"
YOUTUBE = st.text("ABCabc019_-", min_size=11, max_size=11)


def greatest_hits(root: Path, *, train: str = f"{A}\n", test: str = f"{B}\n") -> SourceConfig:
    (root / "train.txt").write_bytes(train.encode())
    (root / "test.txt").write_bytes(test.encode())
    for video in (A, B):
        (root / f"{video}_denoised.mp4").touch()
        (root / f"{video}_times.txt").write_text(
            "0.5 wood hit static\n1.5 None None None\n2.0 metal scratch None\n"
        )
    return SourceConfig(kind="greatest_hits", root=str(root))


@settings(max_examples=40, deadline=None)
@given(
    st.text(max_size=40) | st.sampled_from(["-x", "..", "../x", "a/../../x", "\0", "/etc/passwd", "y" * 5000])
)
def test_no_id_or_path_leaves_the_root(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("ids")
    pq.write_table(pa.Table.from_pylist([{"path": text, "clip_id": text}]), root / "index.parquet")
    try:
        refs = list(read_source(SourceConfig(kind="manifest", root=str(root), index=root / "index.parquet")))
    except UserError as error:
        assert "line 1" in str(error)
        return
    for ref in refs:
        assert ref.path.is_absolute() and ref.path.is_relative_to(root) and ".." not in ref.path.parts
        assert 0 < len(ref.clip_id) <= 4096 and printable(ref.clip_id).encode() and "\n" not in ref.clip_id


def test_greatest_hits_follows_the_official_lists_and_tells_what_is_struck(tmp_path):
    first, second = read_source(greatest_hits(tmp_path, train=f"\ufeff{A}\r\n\r\n"))
    assert (first.clip_id, first.split, second.clip_id, second.split) == (A, "train", B, "test")
    assert first.label == "A drumstick hits wood and scratches metal."
    assert first.duration_s is None


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": f"{A}\n{A}\n"}, r"train.txt, line 2.*train.txt already"),
        ({"train": f"{A}\n{B}\n"}, r"test.txt, line 1.*in train.txt already"),
        ({"train": "../../etc/passwd\n"}, r"train.txt, line 1"),
        ({"train": "", "test": ""}, "are empty"),
    ],
)
def test_bad_official_lists_are_refused_with_the_line(tmp_path, lists, message):
    with pytest.raises(UserError, match=message):
        list(read_source(greatest_hits(tmp_path, **lists)))


@pytest.mark.parametrize(("unlisted", "train", "test"), [("train", 2252, 743), ("leave_out", 2250, 743)])
def test_ten_second_segments_of_the_original_are_the_papers_2995(tmp_path, shared, unlisted, train, test):
    index = shared / "data" / "greatest_hits_videos.csv.gz"
    values = {"root": str(tmp_path), "index": index, "unlisted": unlisted, "segment_seconds": 10.0}
    refs = list(read_source(SourceConfig(kind="greatest_hits", **values)))
    assert sum(ref.split == "train" for ref in refs) == train
    assert sum(ref.split == "test" for ref in refs) == test
    assert {ref.path for ref in refs if ref.split == "train"}.isdisjoint(
        ref.path for ref in refs if ref.split == "test"
    )
    assert all(ref.duration_s == 10 and ref.start_s % 10 == 0 for ref in refs)


def test_videos_of_neither_list_are_training_clips_unless_left_out(tmp_path):
    config = greatest_hits(tmp_path)
    other = "2015-09-18-04-36-35-362"
    (tmp_path / f"{other}_denoised.mp4").touch()
    assert [ref.clip_id for ref in read_source(config)] == [A, B, other]
    left = read_source(config.model_copy(update={"unlisted": "leave_out"}))
    assert [ref.clip_id for ref in left] == [A, B]


def test_a_video_without_length_is_one_clip_to_fail_later(tmp_path):
    config = greatest_hits(tmp_path).model_copy(update={"segment_seconds": 10.0})
    assert [ref.clip_id for ref in read_source(config)] == [A, B]  # both files are empty


def test_synthetic_clips_carry_their_captions(tmp_path):
    config = greatest_hits(tmp_path).model_copy(update={"kind": "synthetic"})
    (tmp_path / "captions.csv").write_text(f"clip_id,caption\n{A},a drumstick hits a wooden block once\n")
    first, _ = read_source(config)
    assert (first.dataset, first.caption) == ("synthetic", "a drumstick hits a wooden block once")


def test_a_folder_gives_every_media_file_once_in_order(tmp_path):
    for name in ("b.MKV", "a/x.webm", "notes.txt", ".hidden.mp4", "a/-dash.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"clip_id": "a/x", "caption": "rain"}\n')
    refs = list(read_source(SourceConfig(root=str(tmp_path), captions=captions)))
    assert [(ref.clip_id, ref.caption) for ref in refs] == [
        ("b.MKV", ""),
        ("a/-dash.mp4", ""),
        ("a/x.webm", "rain"),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_manifest_gives_what_its_columns_say(tmp_path, kind):
    index = tmp_path / f"index.{kind}"
    if kind == "csv":
        index.write_text("path,caption,split,start_s\nx.mp4,rain,test,1.5\ny.mp4,,,\n")
    else:
        rows = [{"path": "x.mp4", "caption": "rain", "split": "test", "start_s": 1.5}, {"path": "y.mp4"}]
        pq.write_table(pa.Table.from_pylist(rows), index)
    first, second = read_source(SourceConfig(kind="manifest", root=str(tmp_path), index=index))
    assert (first.clip_id, first.caption, first.split, first.start_s) == ("x.mp4", "rain", "test", 1.5)
    assert (second.caption, second.split, second.start_s, second.duration_s) == ("", "train", 0.0, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\n../x.mp4\n", "lies outside"),
        ("path\n/etc/passwd\n", "lies outside"),
        ("path\nx.mp4\nx.mp4\n", "line 3: id 'x.mp4' comes twice, first at .*line 2"),
        ("path,clip_id,split\nx.mp4,a,train\nx.mp4,b,test\n", "line 3.*training and the test set"),
        ("path,clip_id\nx.mp4,a/../../b\n", "line 2.*step upwards"),
        ("path,start_s\nx.mp4,nan\n", "line 2: start_s"),
        ("file\nx.mp4\n", "line 2: no path"),
        ("path,caption\nx.mp4\n", "line 2: 1 fields; expected 2"),
        (f"path\n{'x' * 5000}.mp4\n", "5004 characters"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path, text, message):
    index = tmp_path / "index.csv"
    index.write_text(text)
    with pytest.raises(UserError, match=message):
        list(read_source(SourceConfig(kind="manifest", root=str(tmp_path), index=index)))


@pytest.mark.parametrize("kind", ["folder", "greatest_hits", "synthetic", "vggsound", "manifest"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_or_empty_folder_is_one_line(tmp_path, kind, missing):
    root = tmp_path / "clips"
    if not missing:
        root.mkdir()
    index = tmp_path / "index.csv"
    index.write_text("")
    with pytest.raises(UserError) as caught:
        list(read_source(SourceConfig(kind=kind, root=str(root), index=index)))
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_split_and_limit_choose_clips(tmp_path):
    config = greatest_hits(tmp_path)
    assert [r.clip_id for r in read_source(config.model_copy(update={"split": "test"}))] == [B]
    assert [r.clip_id for r in read_source(config.model_copy(update={"limit": 1}))] == [A]
