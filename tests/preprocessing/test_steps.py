"""A whole job in the plain loop."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import preprocessing.worker as worker_module
from preprocessing.job import precompute
from preprocessing.steps import run_steps
from syncflow.data.batches import LatentDataset
from syncflow.data.parquet import read_ledger, read_rows
from syncflow.data.parquet.lock import LOCK, writer_lock
from syncflow.errors import UserError
from syncflow.records import ClipRef, Dropped
from tests.precompute_case import content, decoded, job, write_clip_number, write_media, write_weights

GOOD = 5
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "clips"
    write_media(folder, good=GOOD)
    return folder


@pytest.fixture(scope="module")
def unbroken(originals: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "latents"
    assert precompute(job(originals, weights, output)) == 0
    return output


@pytest.fixture
def clips(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "clips"))


def test_inputs_are_accepted_rejected_or_failed_each_once(unbroken: Path) -> None:
    manifest = json.loads((unbroken / "dataset.json").read_text())
    assert manifest["accepted"] == GOOD and manifest["rejected"] == {}
    assert sum(manifest["failed"].values()) == 2 and manifest["failed"]["empty"] == 1
    assert manifest["inputs"] == GOOD + 2 == len(read_ledger(unbroken / "ledger"))
    assert manifest["windows"] == 2 * GOOD == len(LatentDataset(unbroken))


def test_a_row_says_where_it_came_from(unbroken: Path, originals: Path) -> None:
    row = read_rows(next((unbroken / "latents").glob("*.parquet")))[0]
    ledger = read_ledger(unbroken / "ledger")["folder", row.clip_id]
    assert row.source_sha256 == ledger.source_sha256 and row.caption == "a clip"
    assert row.video_mean.dtype == np.float16 and "motion" in row.scores
    assert "--only=" in ledger.reproduce and str(originals) in ledger.path


def test_rerun_decodes_nothing_and_changes_nothing(
    unbroken: Path, originals: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p: p.read_bytes() for p in unbroken.rglob("*") if p.is_file()}
    seen = decoded(monkeypatch)
    assert precompute(job(originals, weights, unbroken)) == 0
    assert seen == []
    assert before == {p: p.read_bytes() for p in unbroken.rglob("*") if p.is_file()}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_job_cut_off_between_shards_gives_the_same_set(
    originals: Path,
    weights: Path,
    unbroken: Path,
    tmp_path: Path,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = job(originals, weights, tmp_path / "out")

    def cut_off(work, groups):
        worker = worker_module.ShardWorker(work)
        for group in groups[:after]:
            yield worker(group)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(config, execute=cut_off)
    assert not (config.output / "dataset.json").exists()
    done = len(content(config.output))
    assert done == 2 * after
    seen = decoded(monkeypatch)
    precompute(config)
    assert len(seen) == GOOD + 2 - done
    assert content(config.output) == content(unbroken)


def test_shards_that_no_ledger_row_names_do_not_count(
    originals: Path, weights: Path, unbroken: Path, tmp_path: Path
) -> None:
    config = job(originals, weights, tmp_path / "out")
    precompute(config)
    next((config.output / "ledger").glob("*.parquet")).unlink()  # a kill after latents/, before ledger/
    (config.output / "dataset.json").unlink()
    (config.output / "latents" / ".half.parquet.1.tmp").write_bytes(b"half")
    precompute(config)
    assert content(config.output) == content(unbroken)
    assert len(LatentDataset(config.output)) == 2 * GOOD
    assert not list(config.output.rglob("*.tmp"))


def test_changed_file_alone_is_encoded_again(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(clips, weights, tmp_path / "out")
    precompute(config)
    before = content(config.output)
    write_clip_number(clips / "clip01.mp4", 77)
    os.utime(clips / "clip02.mp4")  # a new time, the same bytes
    seen = decoded(monkeypatch)
    precompute(config)
    assert seen == ["clip01.mp4"]
    after = content(config.output)
    assert {key for key in after if after[key] != before[key]} == {"clip01.mp4"}
    assert len(LatentDataset(config.output)) == 2 * GOOD


def test_failed_clips_are_tried_again_by_reason(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precompute(job(clips, weights, tmp_path / "out"))
    seen = decoded(monkeypatch)
    precompute(job(clips, weights, tmp_path / "out", retry_failed="empty"))
    assert seen == ["empty.mp4"]
    with pytest.raises(UserError, match=r"no clip failed for that reason; expected all or one of: empty, "):
        precompute(job(clips, weights, tmp_path / "out", retry_failed="emty"))


def test_other_settings_or_weights_are_refused_with_the_difference(
    clips: Path, weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    precompute(job(clips, weights, output))
    before = content(output)
    with pytest.raises(UserError, match=r"windows\.count 2 -> 3"):
        precompute(job(clips, weights, output, windows={"count": 3}))
    write_weights(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"weights of encode\.video_vae \w+ -> \w+"):
        precompute(job(clips, tmp_path / "other", output))
    assert content(output) == before and (output / "dataset.json").is_file()


def test_how_the_work_is_done_may_change(clips: Path, weights: Path, tmp_path: Path, unbroken: Path) -> None:
    output = tmp_path / "out"
    precompute(job(clips, weights, output, clips_per_shard=3, clips_at_once=1))
    assert content(output) == content(unbroken)
    precompute(job(clips, weights, output, clips_per_shard=5))


def test_nothing_but_bad_clips_is_one_clear_line_and_no_dataset(tmp_path: Path, weights: Path) -> None:
    clips = tmp_path / "clips"
    write_media(clips, good=0)
    with pytest.raises(UserError, match=r"none of 2 clips gave latents \(1 empty, 1 "):
        precompute(job(clips, weights, tmp_path / "out"))
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp")) and not (tmp_path / "out" / LOCK).exists()


def test_more_failures_than_the_budget_give_status_3(clips: Path, weights: Path, tmp_path: Path) -> None:
    assert precompute(job(clips, weights, tmp_path / "out", failure_budget=0.2)) == 3
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_missing_weights_or_source_leave_nothing_behind(clips: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audio_vae|AudioVAE"):
        encode = {**job(clips, weights, tmp_path).encode.model_dump(), "audio_vae": str(tmp_path / "none")}
        precompute(job(clips, weights, tmp_path / "out", encode=encode))
    with pytest.raises(UserError):
        precompute(job(tmp_path / "nowhere", weights, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_two_jobs_on_one_dataset_are_refused(clips: Path, weights: Path, tmp_path: Path) -> None:
    with writer_lock(tmp_path / "out"), pytest.raises(UserError, match=f"held by process {os.getpid()}"):
        precompute(job(clips, weights, tmp_path / "out"))


def test_one_clip_that_breaks_a_step_costs_one_row() -> None:
    class Fragile:
        def __call__(self, batch: list[ClipRef]) -> list:
            if any(ref.clip_id == "b" for ref in batch):
                raise ZeroDivisionError("b")
            return [Dropped(ref=ref, kind="rejected", reason="fine") for ref in batch]

    refs = [ClipRef(dataset="set", clip_id=name, path=Path("/x")) for name in "abc"]
    outcomes = run_steps([Fragile()], refs)
    assert [(o.ref.clip_id, o.reason) for o in outcomes if isinstance(o, Dropped)] == [
        ("a", "fine"),
        ("b", "internal_error"),
        ("c", "fine"),
    ]


def test_wrong_settings_are_not_blamed_on_a_clip() -> None:
    def step(batch: list) -> list:
        raise UserError("settings")

    with pytest.raises(UserError, match="settings"):
        run_steps([step], [ClipRef(dataset="set", clip_id="a", path=Path("/x"))])
