"""Evaluation sets: the paper's 744 segments of Greatest Hits and VGGSound's test set, by exact ids."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path

from syncflow.media.evaluation_set import read_evaluation_set

PIPELINE = "pipelines/make_evaluation_set.py"


def make(repository: Path, *arguments: str) -> None:
    command = [sys.executable, PIPELINE, *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_greatest_hits_has_744_segments(shared: Path, repository: Path, tmp_path: Path) -> None:
    index, root = tmp_path / "index.csv", tmp_path / "clips"
    index.write_bytes(gzip.decompress((shared / "data/greatest_hits_videos.csv.gz").read_bytes()))
    root.mkdir()
    output = tmp_path / "set.csv"
    make(
        repository, "--source.kind", "greatest_hits", "--source.root", str(root),
        "--source.index", str(index), "--source.segment-seconds", "10",
        "--source.unlisted", "leave_out", "--output", str(output),
    )  # fmt: skip
    clips = read_evaluation_set(output)
    assert len(clips) == 743  # the paper's 744th is one of two in videos of neither list
    assert len({clip.id for clip in clips}) == 743 and all(clip.start_s % 10 == 0 for clip in clips)
    assert all(clip.path.name.endswith("_denoised.mp4") and clip.path.parent == root for clip in clips)


def test_vggsounds_test_set_is_that_of_its_csv(shared: Path, repository: Path, tmp_path: Path) -> None:
    index, root = tmp_path / "vggsound.csv", tmp_path / "clips"
    text = gzip.decompress((shared / "data/vggsound_partial.csv.gz").read_bytes())
    index.write_bytes(text)
    root.mkdir()
    rows = [row for row in csv.reader(text.decode("utf-8").splitlines()) if row and row[-1] == "test"]
    (root / f"{rows[0][0]}_{int(rows[0][1]):06d}.mp4").touch()  # a folder without any clip is refused
    output = tmp_path / "set.csv"
    make(
        repository, "--source.kind", "vggsound", "--source.root", str(root), "--source.index", str(index),
        "--output", str(output),
    )  # fmt: skip
    clips = read_evaluation_set(output)
    assert len(clips) == len(rows) == 15_446
    labels = {row[0]: row[2] for row in rows}
    assert all(labels[clip.id[:11]] in clip.prompt for clip in clips)
