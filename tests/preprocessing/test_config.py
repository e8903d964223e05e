from pathlib import Path

import pytest

from preprocessing.config import PrecomputeConfig
from syncflow.command_line import parse_arguments
from syncflow.config import load_config
from syncflow.errors import UserError


@pytest.mark.parametrize("preset", ["tiny", "greatest_hits", "vggsound"])
def test_presets_state_the_windows_of_the_paper(repository: Path, preset: str) -> None:
    config = load_config(PrecomputeConfig, repository / "pipelines" / "configs" / preset / "precompute.yaml")
    assert (config.spec.seconds, config.spec.fps, config.spec.sample_rate) == (2.0, 16, 48_000)
    assert config.spec.height == config.spec.width == (64 if preset == "tiny" else 256)


def test_preset_points_at_another_folder_by_two_flags(repository: Path) -> None:
    preset = str(repository / "pipelines/configs/tiny/precompute.yaml")
    flags = ["--source.root", "/clips", "--source.kind", "folder"]
    config = parse_arguments(PrecomputeConfig, description="", argv=["--config", preset, *flags])
    assert (config.source.kind, config.source.root) == ("folder", "/clips")
    assert config.encode.video_vae == str(repository / "pipelines/configs/tiny/weights/video_vae")


def test_id_that_starts_with_a_dash_can_be_run_alone(repository: Path) -> None:
    preset = str(repository / "pipelines/configs/tiny/precompute.yaml")
    config = parse_arguments(
        PrecomputeConfig, description="", argv=["--config", preset, "--only=-Abc_def123"]
    )
    assert config.only == "-Abc_def123"


def test_mistyped_flag_is_answered_with_the_nearest(repository: Path) -> None:
    preset = str(repository / "pipelines/configs/tiny/precompute.yaml")
    with pytest.raises(UserError, match=r"did you mean '--source\.root'"):
        parse_arguments(PrecomputeConfig, description="", argv=["--config", preset, "--source.roots", "x"])


def test_an_output_that_is_a_url_is_refused_with_the_remedy(repository: Path) -> None:
    preset = str(repository / "pipelines/configs/tiny/precompute.yaml")
    for url in ("s3://bucket/latents", "gs://bucket/latents", "file:///tmp/latents"):
        with pytest.raises(UserError, match=r"output.*a URL: .*copy it when the job is done"):
            parse_arguments(PrecomputeConfig, description="", argv=["--config", preset, "--output", url])
