from pathlib import Path

import pytest

from preprocessing.job import precompute
from preprocessing.verify_weights import check_weights
from syncflow.data.parquet import DatasetManifest
from tests.precompute_case import job, write_clip_number, write_weights


@pytest.fixture
def manifest(tmp_path: Path) -> DatasetManifest:
    (tmp_path / "clips").mkdir()
    write_clip_number(tmp_path / "clips" / "clip.mp4", 0)
    write_weights(tmp_path / "weights")
    precompute(job(tmp_path / "clips", tmp_path / "weights", tmp_path / "latents"))
    return DatasetManifest.read(tmp_path / "latents")


def test_weights_are_verified_found_changed_or_told_to_be_absent(
    manifest: DatasetManifest, tmp_path: Path
) -> None:
    def kinds() -> dict[str, str]:
        return {check.name: check.kind for check in check_weights(manifest)}

    assert kinds() == {"video_vae": "verified", "audio_vae": "verified", "text_encoder": "verified"}
    write_weights(tmp_path / "weights", seed=1)
    (tmp_path / "weights" / "audio_vae" / "config.json").unlink()
    assert kinds() == {"video_vae": "changed", "audio_vae": "absent", "text_encoder": "verified"}
