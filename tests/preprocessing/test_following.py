"""A dataset follows its source: its tables are followed at the least cost, what is away changes nothing."""

import dataclasses
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

import syncflow.data.parquet.finish as finish_module
from preprocessing.job import precompute
from preprocessing.keys import offered_texts
from syncflow.data.batches import LatentDataset
from syncflow.data.parquet import DatasetManifest, read_ledger
from syncflow.data.parquet.ledger import span_key, text_key
from syncflow.data.verify import find_faults
from syncflow.errors import UserError
from syncflow.records import ClipRef
from tests.precompute_case import content, decoded, job, rows_read_by_others, write_clip_number, write_weights

GOOD = 4


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder)
    return folder


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "clips"
    folder.mkdir()
    for number in range(GOOD):
        write_clip_number(folder / f"clip{number}.mp4", number)
    write_table(folder)
    return folder


def write_table(folder: Path, *, leave_out: str = "", **changes: dict[str, str]) -> None:
    """index.csv of all clips; `changes` are other values of a clip's columns, by its stem."""
    lines = ["path,clip_id,caption,split,start_s,duration_s"]
    for number in range(GOOD):
        name = f"clip{number}"
        row = {"caption": f"caption {number}", "split": "train", "start_s": "0", "duration_s": ""}
        row |= changes.get(name, {})
        if name != leave_out:
            lines.append(f"{name}.mp4,{name},{','.join(row.values())}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def first(originals: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first") / "latents"
    assert precompute(of_table(originals, weights, output)) == 0
    return output


@pytest.fixture
def clips(originals: Path, tmp_path: Path, first: Path) -> Path:
    """The clips, at a place of their own; and a dataset of them, `out`, as the first job left it."""
    folder = Path(shutil.copytree(originals, tmp_path / "clips"))
    shutil.copytree(first, tmp_path / "out")
    return folder


def of_table(clips: Path, weights: Path, output: Path, *, source: dict | None = None, **changes: object):
    """The job over index.csv."""
    values = {"kind": "manifest", "root": str(clips), "index": str(clips / "index.csv"), **(source or {})}
    return job(clips, weights, output, source=values, **changes)


def files_of(output: Path) -> dict[str, bytes]:
    return {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.is_file()}


def is_sound(output: Path) -> None:
    """Nothing is stale for any reader, and nothing lies about."""
    assert list(find_faults(output)) == []
    ledger = read_ledger(output / "ledger")
    assert len(pd.read_parquet(output / "ledger")) == len(ledger), "one row a clip"
    manifest = DatasetManifest.read(output)
    assert len(rows_read_by_others(output)) == manifest.windows
    assert pd.read_parquet(output / "text", columns=["key"]).key.is_unique
    assert len(pd.read_parquet(output / "text", columns=["key"])) == manifest.captions
    assert not list(output.rglob("*.tmp"))


# --- what is away


@pytest.mark.parametrize("gone", [["clip0"], [f"clip{n}" for n in range(GOOD)]], ids=["one", "all"])
def test_a_dataset_stays_as_it_was_while_its_clips_are_away(
    clips: Path, weights: Path, tmp_path: Path, gone: list[str], capsys, monkeypatch
) -> None:
    output, config = tmp_path / "out", of_table(clips, weights, tmp_path / "out")
    precompute(config)  # the clips lie elsewhere than when it was made: the ledger is told so
    before = files_of(output)
    for name in gone:
        (clips / f"{name}.mp4").rename(tmp_path / f"{name}.mp4")
    capsys.readouterr()
    assert precompute(config) == 0
    assert f"{len(gone)} of {GOOD} sources are away" in capsys.readouterr().out
    assert files_of(output) == before
    for name in gone:
        (tmp_path / f"{name}.mp4").rename(clips / f"{name}.mp4")
    seen = decoded(monkeypatch)
    assert precompute(config) == 0
    assert seen == [] and files_of(output) == before


@pytest.mark.parametrize("kind", ["folder", "manifest"])
def test_files_that_cannot_be_read_are_away_too(
    clips: Path, weights: Path, tmp_path: Path, kind: str, capsys, monkeypatch
) -> None:
    source = {"kind": kind, "root": str(clips)} | (
        {"index": str(clips / "index.csv")} if kind != "folder" else {}
    )
    config = job(clips, weights, tmp_path / "new", source=source)
    precompute(config)
    before = files_of(config.output)
    write_clip_number(clips / "clip1.mp4", 50)  # changed, and then its disk fails
    opened = Path.open

    def fail(self: Path, *args: object, **more: object):
        if self.name == "clip1.mp4":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", fail)
    capsys.readouterr()
    assert precompute(config) == 0
    assert f"1 of {GOOD} sources are away" in capsys.readouterr().out
    assert files_of(config.output) == before


def test_a_subfolder_that_is_not_mounted_takes_no_clip_away(weights: Path, tmp_path: Path, capsys) -> None:
    clips, disk = tmp_path / "clips", tmp_path / "clips" / "disk"
    disk.mkdir(parents=True)
    write_clip_number(clips / "a.mp4", 1)
    write_clip_number(disk / "b.mp4", 2)
    config = job(clips, weights, tmp_path / "new")
    precompute(config)
    before = files_of(config.output)
    disk.rename(tmp_path / "unplugged")
    capsys.readouterr()
    assert precompute(config) == 0
    assert "1 of 2 sources are away" in capsys.readouterr().out and files_of(config.output) == before
    with pytest.raises(UserError, match=r"1 of 2 clips would leave, first 'disk/b.mp4'.*--most-leaving 1"):
        precompute(job(clips, weights, tmp_path / "new", drop_missing=True))
    assert files_of(config.output) == before
    assert precompute(job(clips, weights, tmp_path / "new", drop_missing=True, most_leaving=1)) == 0
    assert set(content(config.output)) == {"a.mp4"}
    is_sound(config.output)


def test_an_accepted_clip_that_is_dropped_counts_as_missing_where_a_table_names_it(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch
) -> None:
    (clips / "clip0.mp4").unlink()
    config = of_table(clips, weights, tmp_path / "out", drop_missing=True)
    assert precompute(config) == 0
    assert content(config.output)["clip0"] == "missing:not_a_file"
    assert {row[0] for row in rows_read_by_others(config.output)} == {"clip1", "clip2", "clip3"}
    is_sound(config.output)
    write_clip_number(clips / "clip0.mp4", 0)
    seen = decoded(monkeypatch)
    assert precompute(config) == 0
    assert seen == ["clip0"] and content(config.output)["clip0"] == content(tmp_path / "out")["clip0"]


def test_missing_files_have_a_count_and_a_budget_of_their_own(
    clips: Path, weights: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    (clips / "clip0.mp4").unlink()
    config = of_table(clips, weights, tmp_path / "new", failure_budget=0)
    assert precompute(config) == 0
    manifest = DatasetManifest.read(config.output)
    assert (manifest.inputs, manifest.accepted, manifest.failed) == (GOOD, GOOD - 1, {})
    assert manifest.missing == {"not_a_file": 1}
    seen, before = decoded(monkeypatch), files_of(config.output)
    assert precompute(config) == 0
    assert seen == [] and files_of(config.output) == before
    capsys.readouterr()
    assert precompute(of_table(clips, weights, tmp_path / "new", missing_budget=0.2)) == 3
    assert f"1 of {GOOD} clips are missing, over missing_budget 20%" in capsys.readouterr().out
    write_clip_number(clips / "clip0.mp4", 0)
    assert precompute(config) == 0 and seen == ["clip0"]
    is_sound(config.output)


def test_a_success_is_only_replaced_by_a_success(
    clips: Path, weights: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    output, config = tmp_path / "out", of_table(clips, weights, tmp_path / "out")
    precompute(config)
    before, good = rows_read_by_others(output), (clips / "clip1.mp4").read_bytes()
    (clips / "clip1.mp4").write_bytes(good[: len(good) // 2])  # a copy that is under way
    seen = decoded(monkeypatch)
    capsys.readouterr()
    assert precompute(config) == 0
    assert "1 clips keep their former latents" in capsys.readouterr().out
    assert seen == ["clip1"] and rows_read_by_others(output) == before
    is_sound(output)
    files = files_of(output)
    assert precompute(config) == 0
    assert seen == ["clip1"] and files_of(output) == files, "what failed once is not tried each time"
    reason = read_ledger(output / "ledger")["manifest", "clip1"].not_renewed
    assert precompute(of_table(clips, weights, output, retry_failed=reason)) == 0
    assert seen == ["clip1", "clip1"]
    write_clip_number(clips / "clip1.mp4", 60)
    assert precompute(config) == 0
    row = read_ledger(output / "ledger")["manifest", "clip1"]
    assert seen == ["clip1"] * 3 and (row.kind, row.not_renewed) == ("accepted", "")
    is_sound(output)


def test_the_dataset_of_before_is_read_until_the_next_is_whole(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch
) -> None:
    output, config = tmp_path / "out", of_table(clips, weights, tmp_path / "out")
    precompute(config)
    before = LatentDataset(output).batch(0, batch_size=4).latents
    write_clip_number(clips / "clip2.mp4", 70)
    write_table(clips, clip1={"caption": "other words"})

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("manifest", "sweep"):
        with monkeypatch.context() as patch:
            if name == "manifest":
                patch.setattr(DatasetManifest, "write", die)
            else:
                patch.setattr(finish_module, "_sweep", die)
            with pytest.raises(KeyboardInterrupt):
                precompute(config)
        if name == "manifest":
            same = LatentDataset(output).batch(0, batch_size=4).latents
            assert same.video is not None and before.video is not None
            assert (same.video == before.video).all()
    assert len(LatentDataset(output)) == 2 * GOOD
    assert precompute(config) == 0
    assert content(output) == content_of_a_fresh_job(clips, weights, tmp_path)
    is_sound(output)


def content_of_a_fresh_job(clips: Path, weights: Path, tmp_path: Path) -> dict[str, str]:
    fresh = of_table(clips, weights, tmp_path / "fresh")
    precompute(fresh)
    return content(fresh.output)


# --- what the table says


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


# --- where the clips lie


def test_moved_clips_are_the_same_clips(clips: Path, weights: Path, tmp_path: Path, monkeypatch) -> None:
    output, seen = tmp_path / "out", decoded(monkeypatch)
    for number in range(GOOD):
        os.utime(clips / f"clip{number}.mp4")  # as a plain copy does
    assert precompute(of_table(clips, weights, output)) == 0
    assert seen == []
    row = read_ledger(output / "ledger")["manifest", "clip0"]
    assert (
        row.path == str(clips / "clip0.mp4")
        and row.source_mtime_ns == (clips / "clip0.mp4").stat().st_mtime_ns
    )
    is_sound(output)


def test_another_folder_with_the_same_ids_is_refused(weights: Path, tmp_path: Path, monkeypatch) -> None:
    for number, name in enumerate(("one", "other")):
        (tmp_path / name).mkdir()
        write_clip_number(tmp_path / name / "clip.mp4", 80 + number)
    output = tmp_path / "new"
    precompute(job(tmp_path / "one", weights, output))
    before = files_of(output)
    with pytest.raises(UserError, match=r"'clip.mp4' was made from \S+/one/clip.mp4.*--source.moved"):
        precompute(job(tmp_path / "other", weights, output))
    assert files_of(output) == before
    seen = decoded(monkeypatch)
    source = {"kind": "folder", "root": str(tmp_path / "other"), "moved": True}
    assert precompute(job(tmp_path / "other", weights, output, source=source)) == 0
    assert seen == ["clip.mp4"]
    is_sound(output)


def test_clips_of_another_root_stay(weights: Path, tmp_path: Path, capsys) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_clip_number(tmp_path / name / f"{name}.mp4", len(name))
    output = tmp_path / "new"
    precompute(job(tmp_path / "one", weights, output))
    capsys.readouterr()
    precompute(job(tmp_path / "other", weights, output))
    assert "1 clips of the dataset lie outside this source's root, and stay" in capsys.readouterr().out
    assert set(content(output)) == {"one.mp4", "other.mp4"}


def test_a_relative_root_is_kept_absolute(weights: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "clips").mkdir()
    write_clip_number(tmp_path / "clips" / "a.mp4", 1)
    monkeypatch.chdir(tmp_path)
    precompute(job(Path("clips"), Path("..") / weights.name, tmp_path / "new"))
    config = DatasetManifest.read(tmp_path / "new").config
    assert config["source"]["root"] == str(tmp_path / "clips")
    row = read_ledger(tmp_path / "new" / "ledger")["folder", "a.mp4"]
    assert row.path == str(tmp_path / "clips" / "a.mp4")


# --- segments of one file


def test_segments_of_a_file_share_one_probe_and_one_hash(weights: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "clips").mkdir()
    write_clip_number(tmp_path / "clips" / "a.mp4", 1)
    write_clip_number(tmp_path / "clips" / "b.mp4", 2)
    lines = [f"{name}.mp4,{name}{k},{k / 4}" for name in "ab" for k in range(4)]
    (tmp_path / "clips" / "index.csv").write_text("\n".join(("path,clip_id,start_s", *lines)))
    calls: dict[str, list[str]] = {"probe": [], "file_sha256": []}
    for name, seen in calls.items():
        original = getattr(__import__("preprocessing.opened_source", fromlist=[name]), name)

        def spy(path: Path, *, seen=seen, original=original, **more: object) -> object:
            seen.append(Path(path).name)
            return original(path, **more)

        monkeypatch.setattr(f"preprocessing.opened_source.{name}", spy)
    output = tmp_path / "new"
    assert precompute(of_table(tmp_path / "clips", weights, output, clips_per_shard=3, clips_at_once=2)) == 0
    assert DatasetManifest.read(output).accepted == 8
    assert calls == {"probe": ["a.mp4", "b.mp4"], "file_sha256": ["a.mp4", "b.mp4"]}
