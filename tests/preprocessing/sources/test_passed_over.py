"""What a source passes over is counted and told, and so is what of its tables names no clip."""

import os
import unicodedata
from pathlib import Path

import fsspec
import pandas as pd
import pytest

from preprocessing.sources.config import SourceConfig
from preprocessing.sources.read import list_source
from syncflow.errors import UserError

CLIPS = ("a.mp4", "b.mp4")
VIDEO = "2015-02-16-16-49-0{}_denoised.mp4"


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def notes(root: Path | str, **values: object) -> str:
    return "\n".join(list_source(SourceConfig(root=str(root), **values)).notes)


def test_a_folder_tells_what_it_passes_over(tmp_path: Path) -> None:
    root = folder(
        tmp_path / "clips", *CLIPS, ".c.mp4", ".cache/d.mp4", "readme.txt", "e.WAV", "f.txt", "noext"
    )
    (root / "linked").symlink_to(folder(tmp_path / "elsewhere", "g.mp4"), target_is_directory=True)
    told = notes(root)
    assert "1 passed over: hidden files, first .c.mp4" in told
    assert "1 passed over: hidden folders, first .cache" in told
    assert "4 passed over: no video suffix (.txt 2, .wav 1, none 1), first e.WAV" in told
    assert "1 passed over: links to folders" in told and "first linked" in told
    assert notes(folder(tmp_path / "clean", *CLIPS)) == ""


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = folder(tmp_path, *CLIPS, "locked/c.mp4"), os.scandir

    def fail(path: str | Path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    told = notes(root)
    assert "1 passed over: folders that cannot be read (Permission denied 1), first locked" in told


def test_a_folder_without_a_clip_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no clips there.*1 passed over: no video suffix \(\.wav 1\)"):
        notes(folder(tmp_path, "a.wav"))


def test_a_remote_folder_tells_the_same(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in ("a.mp4", ".b.mp4", ".hidden/c.mp4", "d.txt"):
        store.pipe_file(f"/passed/{name}", b"x")
    told = notes("memory://passed")
    for reason in ("hidden files", "files in hidden folders", "no video suffix"):
        assert f"1 passed over: {reason}" in told


def test_vggsound_takes_one_file_per_clip_and_tells_the_others(tmp_path: Path) -> None:
    clip, index = "abcdefghijk_000030", tmp_path / "vggsound.csv"
    index.write_text("abcdefghijk,30,x,train\nabcdefghijl,30,x,train\n")
    root = folder(
        tmp_path / "clips", f"{clip}.webm", f"{clip}.mp4", f"0/{clip}.mp4", f"9/{clip}.avi", "x.mp4"
    )
    folder(root, "abcdefghijm_000030.mp4", "z/abcdefghijl_000030.mp4")
    listing = list_source(SourceConfig(kind="vggsound", root=str(root), index=index))
    assert [ref.path for ref in listing.clips] == [root / f"{clip}.mp4", root / "z/abcdefghijl_000030.mp4"]
    told = "\n".join(listing.notes)
    assert f"3 passed over: another file of the same clip is taken, first {clip}.webm" in told
    assert "1 passed over: no clip's name, first x.mp4" in told
    assert "1 passed over: not in the index, first abcdefghijm_000030.mp4" in told


def test_greatest_hits_tells_names_videos_and_segments_that_it_leaves(tmp_path: Path) -> None:
    root = folder(tmp_path, *(VIDEO.format(k) for k in range(4)), "sub/" + VIDEO.format(0), "x_denoised.mp4")
    ids = [VIDEO.format(k).removesuffix("_denoised.mp4") for k in range(4)]
    (root / "train.txt").write_text(f"{ids[0]}\n{ids[1]}\n")
    (root / "test.txt").write_text(f"{ids[2]}\n")
    index = tmp_path / "lengths.csv"
    index.write_text("video_id,duration_s\n" + "".join(f"{v},{9 + 12 * k}\n" for k, v in enumerate(ids)))
    source = {"kind": "greatest_hits", "unlisted": "leave_out", "segment_seconds": 10, "index": index}
    listing = list_source(SourceConfig(root=str(root), **source))
    assert [ref.clip_id for ref in listing.clips] == [
        *(f"{ids[1]}_s{k:03}" for k in range(2)),
        *(f"{ids[2]}_s{k:03}" for k in range(3)),
    ]
    told = "\n".join(listing.notes)
    assert "1 passed over: another file of the same clip is taken, first sub/" in told
    assert "1 passed over: no clip's name, first x_denoised.mp4" in told
    assert f"1 passed over: in neither list, first {ids[3]}" in told
    assert f"1 passed over: shorter than a segment, first {ids[0]}" in told


def captioned(root: Path, text: str, *, name: str = "captions.csv", **values: object):
    (root / name).write_text(text)
    return list_source(SourceConfig(root=str(root), captions=root / name, **values))


@pytest.mark.parametrize(
    ("clip", "named", "told"),
    [
        ("café.mp4", "café.mp4", "another Unicode form"),
        ("a.mp4", "clips/a.mp4", r"first there 'clips/a.mp4', first clip 'a.mp4'"),
    ],
    ids=["NFC-and-NFD", "a path before the name"],
)
def test_captions_that_match_no_clip_are_refused(tmp_path: Path, clip: str, named: str, told: str) -> None:
    folder(tmp_path, unicodedata.normalize("NFC", clip))
    text = f"clip_id,caption\n{unicodedata.normalize('NFD', named)},a dog\n"
    with pytest.raises(UserError, match=f"captions.csv: none of 1 captions matches a clip.*{told}"):
        captioned(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "captions.json",
            '[{"clip_id": "a.mp4", "caption": "a dog"}]',
            r"expected a table that ends in \.csv",
        ),
        ("captions.jsonl", '[{"clip_id": "a.mp4", "caption": "a dog"}]', "expected a JSON object, got list"),
        ("captions.csv", '[{"clip_id": "a.mp4", "caption": "a dog"}]', "none of 0 captions"),
        ("captions.csv", "clip_id,caption\n", "none of 0 captions matches a clip"),
        ("captions.csv", "clip_id,caption\n,a dog\n", "line 2: expected clip_id, caption"),
    ],
)
def test_a_table_that_holds_no_captions_is_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    folder(tmp_path, *CLIPS)
    with pytest.raises(UserError, match=told):
        captioned(tmp_path, text, name=name)


def test_captions_that_match_in_part_say_how_many(tmp_path: Path) -> None:
    folder(tmp_path, *CLIPS)
    listing = captioned(
        tmp_path, "clip_id,caption,window\na,a dog,\nc.mp4,a cat,\nb,,\nd,it runs,1\n", split="train"
    )
    assert [ref.caption for ref in listing.clips] == ["a dog", ""]
    assert listing.notes[1].endswith(
        "2 of 4 captions match no clip (first there 'c.mp4', first clip 'a.mp4')"
    )
    assert listing.notes[2].endswith("1 of 4 captions are empty, as if they were not there")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("of", ["index", "captions"])
def test_a_caption_that_is_not_there_is_none(tmp_path: Path, kind: str, of: str) -> None:
    """pandas writes a gap as null, as NaN (in a column of gaps alone) or as nothing."""
    folder(tmp_path, *CLIPS)
    told = pd.DataFrame({"clip_id": CLIPS, "path": CLIPS, "caption": ["a dog", None], "window": [None, None]})
    if of == "captions":
        told["window"] = [2.0, float("nan")]
    gaps = told.assign(caption=[float("nan")] * 2, duration_s=[1.5, float("nan")])
    for number, (table, caption) in enumerate(((told, "a dog"), (gaps, ""))):
        path = tmp_path / f"{number}.{kind}"
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
        source = {"captions": path} if of == "captions" else {"kind": "manifest", "index": path}
        refs = list_source(SourceConfig(root=str(tmp_path), **source)).clips
        if of == "captions":
            assert refs[0].window_captions == ("", "", caption)
        else:
            assert refs[0].caption == caption
        assert refs[1].caption == "" and refs[1].duration_s is None


def test_a_cell_of_another_type_is_refused_with_its_line(tmp_path: Path) -> None:
    folder(tmp_path, *CLIPS)
    pd.DataFrame({"clip_id": ["a", "b"], "caption": [1.5, 2.5]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError, match=r"c\.parquet, line 1: caption is float 1\.5; expected text"):
        list_source(SourceConfig(root=str(tmp_path), captions=tmp_path / "c.parquet"))
    pd.DataFrame({"path": ["1.mp4"], "clip_id": [7], "caption": ["x"]}).to_parquet(tmp_path / "i.parquet")
    values = {"kind": "manifest", "index": tmp_path / "i.parquet", "captions": tmp_path / "n.jsonl"}
    (tmp_path / "n.jsonl").write_text('{"clip_id": 7, "caption": "a cat"}')
    (ref,) = list_source(SourceConfig(root=str(tmp_path), **values)).clips
    assert (ref.clip_id, ref.caption) == ("7", "a cat")


def test_a_known_bad_list_says_how_many_are_not_among_the_clips(tmp_path: Path) -> None:
    folder(tmp_path, *CLIPS)
    (tmp_path / "bad.csv").write_text("clip,reason\na.mp4,silent\nz.mp4,broken\n")
    told = notes(tmp_path, known_bad=tmp_path / "bad.csv")
    assert "1 of 2 known bad clips are not among these" in told
