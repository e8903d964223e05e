"""The pipelines that only look: datasets, models, what autoencoders keep."""

from collections.abc import Callable
from pathlib import Path

import pytest

from preprocessing.job import precompute
from tests.precompute_case import job, write_media, write_weights


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, autoencoders and the dataset that they made, by the names `clips`, `weights`, `latents`."""
    root = tmp_path_factory.mktemp("inspected")
    write_weights(root / "weights")
    write_media(root / "clips", good=2)
    precompute(job(root / "clips", root / "weights", root / "latents"))
    return root


def test_a_dataset_is_described_verified_and_decoded(
    made: Path, tmp_path: Path, run_pipeline: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--verify", "--sample", 1, "--output", tmp_path / "sample")
    assert run_pipeline("inspect_dataset.py", "--dataset", made / "latents", *flags) == 0
    told = capsys.readouterr().out
    assert "verified, no fault" in told and "1 windows decoded" in told
    assert len(list((tmp_path / "sample").glob("*.mp4"))) == 1


def test_a_models_parts_and_costs_are_printed(
    run_pipeline: Callable[..., int], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pipeline("inspect_model.py", "--config", repository / "pipelines/configs/tiny/inspect.yaml")
    told = capsys.readouterr().out
    assert all(name in told for name in ("video_tower", "audio_tower", "adaptors", "joint", "ZeRO 3"))
