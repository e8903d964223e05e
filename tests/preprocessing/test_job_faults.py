"""Disks that are full or read-only, and the real clips: nothing lost, nothing counted twice."""

from pathlib import Path

import pytest

from preprocessing.job import precompute
from syncflow.data.parquet import DatasetManifest, read_ledger, read_rows
from syncflow.data.verify import find_faults
from syncflow.errors import UserError
from tests.full_disk import disk_of
from tests.precompute_case import content, job, write_clip_number, write_media

pytestmark = pytest.mark.filterwarnings("ignore")


def test_full_disk_keeps_what_was_there_and_the_job_goes_on_later(tmp_path: Path, weights: Path) -> None:
    clips, output = tmp_path / "clips", tmp_path / "out"
    write_media(clips, good=1)
    config = job(clips, weights, output)
    precompute(config)
    before = content(output)
    write_clip_number(clips / "more.mp4", 7)
    with disk_of(4096), pytest.raises(UserError, match=r"latents/\w+\.parquet: cannot be written \(File too"):
        precompute(config)
    assert content(output) == before
    assert not [path for path in output.rglob("*") if path.name.endswith(".tmp") or ".lock" in path.name]
    precompute(config)
    assert set(content(output)) == {*before, "more.mp4"} and list(find_faults(output)) == []


@pytest.mark.parametrize(
    ("place", "told"), [("file/out", "file is a file; give a folder"), ("/proc/out", "permissions")]
)
def test_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, weights: Path, place: str, told: str
) -> None:
    write_media(tmp_path / "clips", good=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"cannot be written.*{told}"):
        precompute(job(tmp_path / "clips", weights, tmp_path / place))


def test_real_clips_are_accepted_rejected_or_failed_each_once(
    tmp_path: Path, weights: Path, shared: Path
) -> None:
    clips = shared / "data" / "clips"
    inputs = sorted(path.name for path in clips.iterdir() if path.suffix != ".csv")
    filters = {"max_static_fraction": 0.9, "max_silence_fraction": 0.9}
    precompute(job(clips, weights, tmp_path / "out", filters=filters, clips_per_shard=4))
    rows = read_ledger(tmp_path / "out" / "ledger")
    assert sorted(key[1] for key in rows) == inputs
    manifest = DatasetManifest.read(tmp_path / "out")
    counted = manifest.accepted + sum(manifest.rejected.values()) + sum(manifest.failed.values())
    assert manifest.inputs == counted == len(inputs)
    assert manifest.accepted and manifest.rejected and manifest.failed
    encoded = {row.clip_id for p in (tmp_path / "out/latents").glob("*.parquet") for row in read_rows(p)}
    assert encoded == {row.clip_id for row in rows.values() if row.kind == "accepted"}
    assert all(row.reason and row.detail for row in rows.values() if row.kind != "accepted")
