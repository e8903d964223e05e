"""Every preset is valid for its pipeline, and only the tiny ones need nothing from elsewhere."""

from pathlib import Path

import pytest

from preprocessing.codes_config import CodesConfig
from preprocessing.config import PrecomputeConfig
from preprocessing.sources.list_config import ListConfig
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.config import Config, load_config
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.generation.config import GenerateConfig
from syncflow.studies.ablation_config import AblationConfig
from syncflow.systems.config import MakeAudioConfig
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.stage.config import TrainConfig

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"
MODELS: dict[str, type[Config]] = {
    "clips": SyntheticClipsConfig,
    "list_clips": ListConfig,
    "precompute": PrecomputeConfig,
    "video": TrainConfig,
    "audio": TrainConfig,
    "audio_no_adaptor": TrainConfig,
    "audio_text": TrainConfig,
    "joint": TrainConfig,
    "single_stage": TrainConfig,
    "ablation": AblationConfig,
    "codes": CodesConfig,
    "train": FoleyGenTrainConfig,
    "foleygen_audio": MakeAudioConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "audio_vae": AutoencoderTrainConfig,
    "video_vae": AutoencoderTrainConfig,
}
PRESETS = sorted(path for path in CONFIGS.rglob("*.yaml") if path.stem in MODELS)
REQUIRED = {
    "output": "/o",
    "data": "/d",
    "encode": {"audio_vae": "/a"},
}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_preset_has_no_unknown_key_and_no_wrong_value(path: Path) -> None:
    model = MODELS[path.stem]
    given = {name: value for name, value in REQUIRED.items() if name in model.model_fields}
    assert isinstance(load_config(model, path, given), model)


def test_the_stages_of_a_preset_name_their_own_stage() -> None:
    for path in PRESETS:
        if path.stem in ("video", "audio", "joint"):
            config = load_config(TrainConfig, path, {"data": "/d"})
            assert config.stage == path.stem


def test_the_single_stage_baseline_trains_all_from_nothing() -> None:
    paths = [path for path in PRESETS if path.stem == "single_stage"]
    assert {path.parent.name for path in paths} == {"greatest_hits", "tiny", "vggsound"}
    for path in paths:
        single, staged = (
            load_config(TrainConfig, each, {"data": "/d"}) for each in (path, path.with_name("joint.yaml"))
        )
        assert (single.stage, single.initialise_from) == ("joint", "none")
        assert single.model == staged.model and single.output != staged.output


def test_the_ablations_clips_and_latents_are_those_that_it_reads() -> None:
    ablation = load_config(AblationConfig, CONFIGS / "tiny" / "ablation.yaml")
    clips = load_config(SyntheticClipsConfig, CONFIGS / "tiny" / "ablation" / "clips.yaml")
    latents = load_config(PrecomputeConfig, CONFIGS / "tiny" / "ablation" / "precompute.yaml")
    assert clips.output == ablation.clips and latents.output == ablation.data
    assert str(clips.output) == latents.source.root


@pytest.mark.parametrize("folder", ["tiny", "greatest_hits"])
def test_the_ablation_has_the_three_rows_of_table_4_at_every_size(folder: str) -> None:
    config = load_config(AblationConfig, CONFIGS / folder / "ablation.yaml")
    settings = [load_config(TrainConfig, path, {"data": "/d"}) for path in config.variants.values()]
    assert all(each.stage == "audio" for each in settings)
    kinds = [(each.model.adaptor.kind, each.model.audio.context) for each in settings]
    assert kinds == [("attention", "video"), ("none", "video"), ("attention", "text")]
    if config.video is not None:
        assert load_config(TrainConfig, config.video, {"data": "/d"}).stage == "video"


@pytest.mark.parametrize("folder", ["vggsound", "greatest_hits"])
def test_the_papers_stage_2_starts_from_open_soras_weights_and_stage_3_from_stage_2(folder: str) -> None:
    audio, joint = (
        load_config(TrainConfig, CONFIGS / folder / f"{name}.yaml", {"data": "/d"})
        for name in ("audio", "joint")
    )
    assert audio.initialise_from == "hpcai-tech/OpenSora-STDiT-v3" and joint.initialise_from == "auto"
    assert audio.output == joint.output and audio.checkpoint.average_last == 1
    generate = load_config(GenerateConfig, CONFIGS / folder / "generate.yaml")
    assert generate.checkpoint == audio.folder / "checkpoint", "SyncFlow-VGG and SyncFlow-GH are stage 2"


def test_the_tiny_weights_are_where_the_preset_says() -> None:
    encode = load_config(PrecomputeConfig, CONFIGS / "tiny" / "precompute.yaml").encode
    for folder in (encode.video_vae, encode.audio_vae):
        assert (Path(folder) / "diffusion_pytorch_model.safetensors").is_file()
