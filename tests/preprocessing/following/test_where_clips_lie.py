"""Clips that moved, other folders with the same ids, and several clips of one file."""

import os
from pathlib import Path

import pytest

from preprocessing.job import precompute
from syncflow.data.parquet import DatasetManifest, read_ledger
from syncflow.errors import UserError
from tests.precompute_case import content, decoded, job, write_clip_number
from tests.preprocessing.following.case import (
    GOOD,
    files_of,
    is_sound,
    of_table,
)


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
