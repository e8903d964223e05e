"""Every setting that names a folder or file is known by its type; in a Ray job relative ones are refused."""

from pathlib import Path

import pytest

from preprocessing.config import PrecomputeConfig
from syncflow.command_line import parse_arguments
from syncflow.config import Config, setting_names
from syncflow.conversion.config import ConvertConfig
from syncflow.errors import UserError
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.generation.config import GenerateConfig
from syncflow.job_places import IN_A_JOB, place_settings
from syncflow.studies.ablation_config import AblationConfig
from syncflow.studies.comparison_config import CompareConfig
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.stage.config import TrainConfig

COMMANDS: dict[type[Config], list[str]] = {
    PrecomputeConfig: ["--source.root", "/c", "--output", "/o", "--encode.audio-vae", "/a"],
    TrainConfig: ["--stage", "audio", "--data", "/d", "--output", "/o"],
    AutoencoderTrainConfig: ["--kind", "audio", "--clips", "/c", "--held-out", "/h", "--output", "/o"],
    GenerateConfig: ["--checkpoint", "/c", "--output", "/o"],
    EvaluateConfig: ["--clips", "/c", "--output", "/o"],
    CompareConfig: ["--tracking-uri", "http://mlflow:5000", "--output", "/o"],
    ConvertConfig: ["--source", "/s", "--output", "/o"],
}
RELATIVE = [
    (PrecomputeConfig, "source.root", "clips"),
    (PrecomputeConfig, "source.index", "vggsound.csv"),
    (PrecomputeConfig, "source.captions", "captions.csv"),
    (PrecomputeConfig, "source.known-bad", "bad.csv"),
    (PrecomputeConfig, "encode.audio-vae", "out/audio_vae"),
    (PrecomputeConfig, "encode.video-vae", "./video_vae"),
    (PrecomputeConfig, "encode.text.location", "out/vggsound/t5"),
    (PrecomputeConfig, "caption.model", "out/vggsound/git"),
    (PrecomputeConfig, "output", "out"),
    (TrainConfig, "data", "latents"),
    (TrainConfig, "initialise-from", "out/runs/audio/checkpoint"),
    (AutoencoderTrainConfig, "clips", "clips"),
    (GenerateConfig, "checkpoint", "out/runs/audio/checkpoint"),
    (GenerateConfig, "prompts", "prompts.csv"),
    (EvaluateConfig, "clips", "out/generated"),
    (ConvertConfig, "source", "../t5"),
]


@pytest.mark.parametrize(("cls", "flag", "value"), RELATIVE)
def test_a_relative_place_is_refused_in_a_job_by_its_flag(
    cls: type[Config], flag: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IN_A_JOB, "{}")
    argv = [*COMMANDS[cls], f"--{flag}", value]
    with pytest.raises(UserError, match=rf"^--{flag} {value}: relative, and a Ray job .* absolute path"):
        parse_arguments(cls, description="", argv=argv)
    monkeypatch.delenv(IN_A_JOB)
    parse_arguments(cls, description="", argv=argv)


@pytest.mark.parametrize("cls", COMMANDS)
def test_absolute_places_urls_and_hub_ids_are_taken(
    cls: type[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IN_A_JOB, "{}")
    argv = COMMANDS[cls]
    parse_arguments(cls, description="", argv=argv)
    more = {
        PrecomputeConfig: ["--source.root", "s3://bucket/clips", "--encode.video-vae", "hub/vae"],
        TrainConfig: ["--initialise-from", "hub/model", "--tracking-uri", "sqlite:////data/mlflow.db"],
        GenerateConfig: ["--checkpoint", "hub/pipeline"],
    }
    parse_arguments(cls, description="", argv=[*argv, *more.get(cls, [])])


def test_mlflows_file_in_the_jobs_own_copy_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv(IN_A_JOB, "{}")
    given = [*COMMANDS[TrainConfig], "--tracking-uri", "sqlite:///out/mlflow.db"]
    with pytest.raises(UserError, match=r"--tracking-uri out/mlflow.db: relative, and a Ray job"):
        parse_arguments(TrainConfig, description="", argv=given)


def test_a_hub_id_that_is_a_folder_here_is_a_relative_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(IN_A_JOB, "{}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "vae").mkdir(parents=True)
    with pytest.raises(UserError, match=r"--encode.video-vae out/vae: relative"):
        parse_arguments(
            PrecomputeConfig,
            description="",
            argv=[*COMMANDS[PrecomputeConfig], "--encode.video-vae", "out/vae"],
        )


@pytest.mark.parametrize("cls", [*COMMANDS, AblationConfig])
def test_no_setting_that_sounds_like_a_place_is_plain_text(cls: type[Config]) -> None:
    """A new setting named root, output, folder ... is a `Path`, or says that it is a place."""
    words = ("root", "location", "folder", "output", "initialise_from", "checkpoint", "index", "known_bad")
    words += ("video_vae", "audio_vae", "text_encoder", "captions", "clips", "data", "source", "prompts")
    marked = set(place_settings(cls))
    groups = {name.rpartition(".")[0] for name in setting_names(cls)}
    chosen = {f"metrics.backbones.{name}.checkpoint" for name in ("i3d", "clap")}  # of a list of names
    sounding = {n for n in setting_names(cls) if n.rpartition(".")[2] in words} - groups - chosen
    assert sounding <= marked
