"""A stage's first weights: what an ablation takes over from the common video stage, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.checkpoint import load_checkpoint
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.config import VideoTowerConfig
from syncflow.model.open_sora import export_video_tower, open_sora_tensors
from syncflow.model.video_tower import VideoTower
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import check_start, starting_model


def changed(config, **groups) -> dict:
    return {name: group | groups.get(name, {}) for name, group in config.model.model_dump().items()}


def test_ablations_share_a_video_stage_and_draw_what_it_did_not_train(settings) -> None:
    first = settings("video", steps=1, engine={"kind": "torch"})
    run_stage(first)
    usual, _ = starting_model(settings("audio"))
    ablation = settings("audio", model=changed(first, adaptor={"kind": "none"}, video={"tap": "attention"}))
    model, _ = starting_model(ablation)
    assert len(list(model.adaptors.parameters())) == 0 < len(list(usual.adaptors.parameters()))
    for name, tensor in usual.video_tower.state_dict().items():
        torch.testing.assert_close(model.video_tower.state_dict()[name], tensor, rtol=0, atol=0)


def test_another_video_tower_is_refused(settings) -> None:
    first = settings("video", steps=1, engine={"kind": "torch"})
    run_stage(first)
    with pytest.raises(UserError, match=r"another model: video.mlp_ratio is .*, 3.0 here"):
        starting_model(settings("audio", model=changed(first, video={"mlp_ratio": 3.0})))


def test_audio_latents_of_another_rate_are_refused(settings) -> None:
    config = settings("video")
    model = changed(config, audio={"latent_rate": 50.0})
    with pytest.raises(UserError, match=r"20 audio latents in 2 s, model.audio.latent_rate 50 makes 100"):
        check_start(settings("video", model=model))


@pytest.fixture
def released(settings, tmp_path: Path) -> Path:
    """A folder in Open-Sora's format whose video tower has the sizes of the small model."""
    torch.manual_seed(7)
    tower = VideoTower(**settings("audio", initialise_from="none").model.video.model_dump())
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    export_video_tower(tower, tmp_path / "released")
    return tmp_path / "released"


def test_stage_audio_starts_from_open_soras_weights_and_leaves_them_as_they_are(
    settings, released: Path
) -> None:
    config = settings("audio", initialise_from=str(released), steps=2)
    check_start(config)
    run_stage(config)
    model, manifest = load_checkpoint(config.folder / "checkpoint")
    theirs, ours = load_file(released / "model.safetensors"), open_sora_tensors(model.video_tower)
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert manifest.initialised_from == str(released)
    assert manifest.initialised_from_sha256 == tensors_sha256(theirs)
    joint = settings("joint", steps=1)  # stage 3 of the same system: the hash of stage 2's checkpoint
    run_stage(joint)
    after = load_checkpoint(joint.folder / "checkpoint")[1]
    assert after.initialised_from_sha256 == manifest.model_sha256


@pytest.mark.parametrize("stage", STAGES)
def test_any_stage_may_start_from_open_soras_weights(settings, released: Path, stage) -> None:
    config = settings(stage, initialise_from=str(released))
    check_start(config)
    model, first = starting_model(config)
    theirs = load_file(released / "model.safetensors")
    assert first.sha256 == tensors_sha256(open_sora_tensors(model.video_tower)) == tensors_sha256(theirs)


def test_open_sora_weights_of_other_sizes_are_refused_before_anything_starts(
    settings, tmp_path: Path
) -> None:
    small = settings("audio", initialise_from="none").model.video.model_dump() | {"mlp_ratio": 3.0}
    export_video_tower(VideoTower(**VideoTowerConfig(**small).model_dump()), tmp_path / "other")
    with pytest.raises(UserError, match=r"video.mlp_ratio is 3.0 there, 4.0 here; give --model.video.mlp-r"):
        check_start(settings("audio", initialise_from=str(tmp_path / "other")))


def test_pickled_open_sora_weights_are_refused_with_the_command_that_converts_them(
    settings, released: Path
) -> None:
    (released / "model.safetensors").rename(released / "ema.pt")
    with pytest.raises(UserError, match=r"run python pipelines/convert_weights.py --source \S*released"):
        check_start(settings("audio", initialise_from=str(released)))
