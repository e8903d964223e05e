"""The source's tables are followed at the least cost; other settings are refused with the difference."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from preprocessing.job import precompute
from preprocessing.keys import offered_texts
from syncflow.data.batches import LatentDataset
from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.ledger import span_key, text_key
from syncflow.errors import UserError
from syncflow.records import ClipRef
from tests.precompute_case import content, decoded, job, rows_read_by_others
from tests.preprocessing.following.case import (
    content_of_a_fresh_job,
    files_of,
    is_sound,
    of_table,
    write_table,
)


def test_every_field_of_a_clip_that_reaches_a_row_is_in_the_ledgers_key(
    weights: Path, tmp_path: Path
) -> None:
    """A field that is added to `ClipRef` has to be thought of here."""
    caption = job(tmp_path, weights, tmp_path / "out").caption
    ref = ClipRef(dataset="d", clip_id="c", path=Path("/c.mp4"))
    others = {
        "split": "test",
        "start_s": 1.0,
        "duration_s": 2.0,
        "label": "a label",
        "caption": "a caption",
        "window_captions": ("of a window",),
        "known_bad": "silent",
    }
    known = {"dataset", "clip_id", "path"}  # the key itself, and the file, whose bytes are hashed
    assert known | others.keys() == {f.name for f in dataclasses.fields(ClipRef)}

    def key(ref: ClipRef) -> tuple[str, ...]:
        return ref.split, span_key(ref), text_key(ref, lambda ref: offered_texts(ref, caption)), ref.known_bad

    for name, value in others.items():
        assert key(dataclasses.replace(ref, **{name: value})) != key(ref), name


def test_an_edited_caption_is_embedded_again_and_nothing_is_decoded(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch
) -> None:
    write_table(clips, clip1={"caption": "other words"})
    config, seen = of_table(clips, weights, tmp_path / "out"), decoded(monkeypatch)
    assert precompute(config) == 0
    assert seen == []
    captions = {row[0]: row[2] for row in rows_read_by_others(config.output)}
    assert captions == {n: "other words" if n == "clip1" else f"caption {n[-1]}" for n in captions}
    assert "caption 1" not in set(pd.read_parquet(config.output / "text", columns=["caption"]).caption)
    assert content(config.output) == content_of_a_fresh_job(clips, weights, tmp_path)
    is_sound(config.output)


def test_captions_of_windows_and_of_a_captions_file_are_followed_too(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch
) -> None:
    captions = clips / "captions.csv"
    captions.write_text("id,caption,window\nclip0,whole,\nclip0,of window 1,1\n")
    config = of_table(clips, weights, tmp_path / "out", source={"captions": str(captions)})
    seen = decoded(monkeypatch)
    assert precompute(config) == 0
    assert [row[2] for row in rows_read_by_others(config.output)[:2]] == ["whole", "of window 1"]
    captions.write_text("id,caption,window\nclip0,whole,\nclip0,edited,1\n")
    assert precompute(config) == 0
    assert [row[2] for row in rows_read_by_others(config.output)[:2]] == ["whole", "edited"] and seen == []
    assert DatasetManifest.read(config.output).config["source"]["captions"] == str(captions)
    is_sound(config.output)


def test_an_edited_caption_is_followed_while_its_clip_is_away(
    clips: Path, weights: Path, tmp_path: Path
) -> None:
    write_table(clips, clip1={"caption": "other words"})
    (clips / "clip1.mp4").unlink()
    config = of_table(clips, weights, tmp_path / "out")
    assert precompute(config) == 0
    assert ("clip1", 0, "other words", "train") in rows_read_by_others(config.output)
    files = files_of(config.output)
    assert precompute(config) == 0 and files_of(config.output) == files


def test_an_edited_split_needs_no_decoding(clips: Path, weights: Path, tmp_path: Path, monkeypatch) -> None:
    write_table(clips, clip3={"split": "test"})
    config, seen = of_table(clips, weights, tmp_path / "out"), decoded(monkeypatch)
    assert precompute(config) == 0
    assert seen == [] and len(LatentDataset(config.output, split="test")) == 2
    assert {row[0] for row in rows_read_by_others(config.output) if row[3] == "test"} == {"clip3"}
    is_sound(config.output)


def test_a_changed_start_or_end_is_that_clip_again(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch
) -> None:
    write_table(clips, clip0={"start_s": "0.5"}, clip2={"duration_s": "0.75"})
    config, seen = of_table(clips, weights, tmp_path / "out"), decoded(monkeypatch)
    assert precompute(config) == 0
    assert sorted(seen) == ["clip0", "clip2"]
    assert content(config.output) == content_of_a_fresh_job(clips, weights, tmp_path)
    is_sound(config.output)


def test_what_left_the_table_leaves_the_dataset_and_may_come_back(
    clips: Path, weights: Path, tmp_path: Path
) -> None:
    config = of_table(clips, weights, tmp_path / "out")
    precompute(config)
    before = content(config.output)
    write_table(clips, leave_out="clip2")
    assert precompute(config) == 0
    assert set(content(config.output)) == {"clip0", "clip1", "clip3"}
    assert {row[0] for row in rows_read_by_others(config.output)} == {"clip0", "clip1", "clip3"}
    is_sound(config.output)
    write_table(clips)
    assert precompute(config) == 0
    assert content(config.output) == before
    is_sound(config.output)


def test_a_table_that_lost_most_of_its_rows_is_refused(clips: Path, weights: Path, tmp_path: Path) -> None:
    config = of_table(clips, weights, tmp_path / "out")
    precompute(config)
    before = files_of(config.output)
    (clips / "index.csv").write_text("path,clip_id\nclip0.mp4,clip0\n")
    with pytest.raises(UserError, match=r"3 of 4 clips would leave, first 'clip1'.*--most-leaving 1"):
        precompute(config)
    assert files_of(config.output) == before
    assert precompute(of_table(clips, weights, tmp_path / "out", most_leaving=1)) == 0
    assert set(content(config.output)) == {"clip0"}


@pytest.mark.parametrize("part", [{"limit": 1}, {"split": "test"}])
def test_a_part_of_the_source_takes_nothing_out(
    clips: Path, weights: Path, tmp_path: Path, part: dict
) -> None:
    write_table(clips, clip3={"split": "test"})
    precompute(of_table(clips, weights, tmp_path / "out"))
    before = content(tmp_path / "out")
    assert precompute(of_table(clips, weights, tmp_path / "out", source=part)) == 0
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"segment_seconds": 2.0}, r"source\.segment_seconds None -> 2\.0"),
        ({"kind": "folder"}, r"source\.kind"),
    ],
)
def test_other_settings_of_the_source_are_refused_with_the_difference(
    clips: Path, weights: Path, tmp_path: Path, source: dict, told: str
) -> None:
    before = files_of(tmp_path / "out")
    with pytest.raises(UserError, match=f"made with other settings.*{told}"):
        precompute(of_table(clips, weights, tmp_path / "out", source=source))
    assert {**files_of(tmp_path / "out"), **before} == before


def test_another_decoder_is_refused_by_its_version(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("preprocessing.recipe.decoder_version", lambda _: "ffmpeg 99")
    with pytest.raises(UserError, match=r"decoder's version 'rules \d+, ffmpeg \S+' -> 'ffmpeg 99'"):
        precompute(of_table(clips, weights, tmp_path / "out"))
