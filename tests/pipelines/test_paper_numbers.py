"""The numbers of the paper's Section 4 (Setup Details), in the presets that are named after its systems.

What the paper does not tell (learning rate, weight decay, warm-up, moving average) is not held here.
"""

from pathlib import Path

import pytest

from preprocessing.config import PrecomputeConfig
from syncflow.autoencoders.config import AudioVAEConfig, VideoVAEConfig
from syncflow.config import load_config
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.generation.config import GenerateConfig
from syncflow.model.config import DualDiTConfig
from syncflow.records import ClipSpec
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.stage.config import TrainConfig

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"
DATASETS = ("vggsound", "greatest_hits")
WINDOW = ClipSpec(seconds=2.0, fps=16, height=256, width=256, sample_rate=48_000)

# dataset, stage: samples a GPU, GPUs, updates
SCHEDULE = {
    ("vggsound", "audio"): (16, 32, 150_000),
    ("vggsound", "joint"): (2, 32, 20_000),
    ("greatest_hits", "audio"): (16, 8, 25_000),
}


def stage(dataset: str, name: str) -> TrainConfig:
    return load_config(TrainConfig, CONFIGS / dataset / f"{name}.yaml", {"data": "/d"})


@pytest.mark.parametrize(("dataset", "name"), SCHEDULE)
def test_batch_gpus_and_steps(dataset: str, name: str) -> None:
    config = stage(dataset, name)
    assert (config.batch_size, config.workers, config.steps) == SCHEDULE[dataset, name]
    assert config.accumulate == 1 and config.stage == name


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", ["audio", "joint", "single_stage"])
def test_a_tenth_of_the_prompts_is_dropped_and_the_video_is_noised_with_the_audio(
    dataset: str, name: str
) -> None:
    config = stage(dataset, name)
    assert config.prompt_dropout == 0.1
    assert config.flow.time.clean_video == 0 and not config.model.adaptor.whiten


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_two_towers(dataset: str) -> None:
    for model in (stage(dataset, "audio").model, stage(dataset, "joint").model, DualDiTConfig()):
        assert model.video.depth == model.audio.depth == 28
        assert model.video.num_heads == model.audio.num_heads == 16
        # the paper prints 1142, which 16 heads do not divide; Open-Sora v1.2, whose tower it takes, has 1152
        assert model.video.hidden_size == model.audio.hidden_size == 1152
        assert tuple(model.video.patch_size)[1:] == (2, 2)
        assert model.adaptor.kind == "attention" and model.adaptor.tokens == 1


@pytest.mark.parametrize("dataset", DATASETS)
def test_windows_of_two_seconds_at_16_fps_256_by_256_and_48_khz(dataset: str) -> None:
    given = {"source": {"root": "/r"}, "encode": {"audio_vae": "/a"}}
    for path, cls, values in (
        ("precompute", PrecomputeConfig, given),
        ("generate", GenerateConfig, {}),
        ("evaluate", EvaluateConfig, {}),
    ):
        config = load_config(cls, CONFIGS / dataset / f"{path}.yaml", values)
        assert getattr(config, "spec" if path == "precompute" else "clip") == WINDOW


def test_the_audio_vae_gives_50_latents_a_second_and_the_video_vae_one_in_4_frames() -> None:
    config = load_config(AutoencoderTrainConfig, CONFIGS / "vggsound" / "audio_vae.yaml")
    for audio in (config.audio, AudioVAEConfig()):
        hop = 1
        for ratio in audio.upsampling_ratios:
            hop *= ratio
        assert hop == 960 and WINDOW.sample_rate / hop == 50
    video = VideoVAEConfig()
    assert 2 ** (len(video.spatial_block_channels) - 1) == 8
    assert 2 ** sum(video.temporal_downsample) == 4


@pytest.mark.parametrize("dataset", DATASETS)
def test_fifty_steps_with_a_guidance_weight_of_six(dataset: str) -> None:
    config = load_config(GenerateConfig, CONFIGS / dataset / "generate.yaml")
    assert (
        config.solver.steps == 50 and config.solver.method == "euler" and config.solver.spacing == "uniform"
    )
    assert config.guidance.scale == 6.0 and config.guidance.audio_scale is None
    assert (config.guidance.start, config.guidance.end) == (0.0, 1.0)
    assert not config.clean_video and config.best_of == 1 and config.speed.video_every == 1


def test_the_last_three_checkpoints_500_steps_apart_are_kept_and_none_is_averaged_with_another() -> None:
    """Table 4 reports the mean of their scores."""
    checkpoint = stage("greatest_hits", "audio").checkpoint
    assert (checkpoint.every, checkpoint.keep, checkpoint.average_last) == (500, 3, 1)
