"""A source that cannot be read now is no news: only a success replaces a success."""

from pathlib import Path

import pytest

import syncflow.data.parquet.finish as finish_module
from preprocessing.job import precompute
from syncflow.data.batches import LatentDataset
from syncflow.data.parquet import DatasetManifest, read_ledger
from syncflow.errors import UserError
from tests.precompute_case import content, decoded, job, rows_read_by_others, write_clip_number
from tests.preprocessing.following.case import (
    GOOD,
    content_of_a_fresh_job,
    files_of,
    is_sound,
    of_table,
    write_table,
)


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
