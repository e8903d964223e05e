from pathlib import Path

import pytest
import yaml
from rich.console import Console

from syncflow.config import load_config
from syncflow.errors import UserError
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.model.cost import deep_stage_cost, meta_model, stage_cost
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.plan import make_plan, show, states_in_memory
from syncflow.training.stage.stages import STAGES

SAMPLE = SampleShape(video_latents=(9, 4, 4), audio_latents=20, text_tokens=6, height=32, width=32)


@pytest.mark.parametrize("stage", ["video", "audio", "joint"])
def test_a_deep_models_cost_follows_from_one_and_two_layers(stage: str, settings) -> None:
    config: DualDiTConfig = settings("video", model={}).model
    deep = {part: getattr(config, part).model_copy(update={"depth": 5}) for part in ("video", "audio")}
    deep_config = config.model_copy(update=deep)
    parts = {"trains": STAGES[stage].trains, "scores": STAGES[stage].scores}
    counted = stage_cost(meta_model(deep_config), SAMPLE, **parts, audio_draws=2)
    assert deep_stage_cost(deep_config, SAMPLE, **parts, audio_draws=2) == counted


def test_the_plan_of_a_stage_is_its_own_arithmetic(settings) -> None:
    machine = {"gpu": "A100", "mfu": 0.3}
    config = settings("audio", workers=4, batch_size=2, accumulate=3, steps=100, machine=machine)
    plan = make_plan(config)
    assert plan.update_samples == 24 and plan.update_flop == 24 * plan.cost.total
    assert plan.step_seconds == pytest.approx(plan.update_flop / (4 * 312e12 * 0.3))
    assert plan.hours == pytest.approx(100 * plan.step_seconds / 3600)
    assert plan.windows == 16 and plan.passes == pytest.approx(100 * 24 / 16)
    shared = [states_in_memory(plan.cost, config, zero=zero) for zero in (0, 2, 3)]
    assert shared[0] > shared[1] > shared[2]


def test_without_data_the_plan_takes_the_papers_sizes_and_says_so(settings, tmp_path: Path) -> None:
    config = settings("video", data=tmp_path / "later", plan_windows=12)
    console = Console(record=True, width=150)
    show(make_plan(config), config, console)
    text = console.export_text()
    assert "not there yet" in text and "9 x 32 x 32 video latents" in text
    assert "2 over each of 12 windows" in text  # six steps of four samples


@pytest.mark.parametrize("dataset", ["greatest_hits", "vggsound"])
@pytest.mark.parametrize("stage", ["audio", "joint", "single_stage"])
def test_the_presets_tell_the_passes_over_each_window_before_there_is_one(
    repository: Path, tmp_path: Path, dataset: str, stage: str
) -> None:
    """The paper draws a window anew each time; here hardly a window comes a hundred times."""
    presets = repository / "pipelines/configs" / dataset
    config = load_config(TrainConfig, presets / f"{stage}.yaml", {"data": tmp_path / "later"})
    windows = yaml.safe_load((presets / "precompute.yaml").read_text())["windows"]
    clips = {"greatest_hits": 2_251, "vggsound": 183_494}[dataset]  # segments and clips to train on
    assert config.plan_windows == clips * windows["count"] and windows["mode"] == "grid"
    assert 0 < config.steps * config.update_samples / config.plan_windows < 100


def test_an_unknown_gpu_is_refused_with_the_flag_that_helps(settings) -> None:
    with pytest.raises(UserError, match=r"machine\.gpu Voodoo: .*--machine\.peak-tflops"):
        make_plan(settings("video", machine={"gpu": "Voodoo"}))


@pytest.mark.slow
def test_the_papers_stage_2_is_planned_at_its_full_size(repository: Path, tmp_path: Path) -> None:
    config = load_config(TrainConfig, repository / "pipelines/configs/vggsound/audio.yaml")
    plan = make_plan(config.model_copy(update={"data": tmp_path / "later"}))
    assert plan.update_samples == 512
    assert plan.cost.trained + plan.cost.frozen == 1_207_643_936 + 186_024_384 + 597_082_304
    assert plan.cost.total / 1e12 == pytest.approx(5.5, rel=0.02)
