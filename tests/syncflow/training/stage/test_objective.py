"""The objective of a stage: what a step draws, and what several audio draws share."""

import dataclasses

import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.parts import torch_engine
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model
from syncflow.training.stage.transfer import move


def objective_of(config) -> FlowObjective:
    model, _ = starting_model(config)
    torch.nn.init.normal_(model.audio_tower.head.weight, generator=torch.Generator().manual_seed(0))
    data = LatentDataset(config.data)
    return FlowObjective(
        model,
        stage=STAGES[config.stage],
        flow=config.flow,
        spec=data.spec,
        frame_times=data.frame_times,
        seed=config.seed,
    )


def batch_of(config):
    return LatentDataset(config.data).batch(0, batch_size=4, seed=config.seed)


def test_k_draws_run_the_video_tower_once_and_average_k_single_draws(settings, monkeypatch) -> None:
    config = settings(
        "audio", initialise_from="none", flow={"audio_draws": 3, "coupling": {"method": "none"}}
    )
    objective, batch = objective_of(config), batch_of(config)
    videos, model = [], objective.model
    run = model.video_tower.forward
    monkeypatch.setattr(
        model.video_tower, "forward", lambda *a, **k: videos.append(len(a[0])) or run(*a, **k)
    )
    metrics = objective(batch)
    metrics["loss"].backward()
    together = {name: p.grad.clone() for name, p in objective.trained.named_parameters()}
    assert videos == [4]

    path = objective.draw(batch)
    objective.zero_grad()
    losses = []
    for k in range(3):
        x_t = type(path.x_t)(video=path.x_t.video, audio=path.x_t.audio[k::3])
        one = dataclasses.replace(path, x_t=x_t)
        error = objective.velocities(one, batch.text).audio - path.velocity.audio[k::3]
        losses.append(error.square().mean())
    (sum(losses) / 3).backward()
    assert metrics["loss"].item() == pytest.approx(sum(losses).item() / 3, rel=1e-5)
    for name, parameter in objective.trained.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-3, atol=1e-6)


def test_validation_does_not_depend_on_the_number_of_draws(settings) -> None:
    values = []
    for draws in (1, 3):
        config = settings("audio", initialise_from="none", flow={"audio_draws": draws})
        objective = objective_of(config).eval()
        values.append(float(objective(batch_of(config))["loss"]))
    assert values[0] == values[1]


def test_audio_draws_are_refused_where_there_is_no_audio(settings) -> None:
    with pytest.raises(UserError, match="stage video has no audio"):
        settings("video", flow={"audio_draws": 2})


def test_another_picture_changes_the_audio_loss_only_where_the_sound_listens(settings) -> None:
    config = settings("audio", initialise_from="none")
    objective, batch = objective_of(config).eval(), batch_of(config)
    metrics = objective(batch)
    assert float(metrics["loss_audio_mismatched"]) != float(metrics["loss_audio"])
    for block in objective.model.audio_tower.blocks:  # deaf: nothing of the context comes through
        torch.nn.init.zeros_(block.join_cross.norm.weight)
    deaf = objective(batch)
    assert float(deaf["loss_audio_mismatched"]) == pytest.approx(float(deaf["loss_audio"]), rel=1e-6)


def test_a_share_of_one_sample_calls_the_towers_as_often_and_reports_no_mismatch(settings) -> None:
    """Under ZeRO-3 every call of a tower is collective: a worker that made fewer would stop all."""
    config = settings("audio", initialise_from="none")
    objective, calls = objective_of(config).eval(), []
    for tower in (objective.model.video_tower, objective.model.audio_tower):
        tower.register_forward_hook(lambda module, *_: calls.append(type(module)))
    whole = objective(batch_of(config))
    several, calls[:] = list(calls), []
    one = objective(LatentDataset(config.data).batch(0, batch_size=1, seed=config.seed))
    assert calls == several and one.keys() == whole.keys()
    assert one["loss_audio_mismatched"].isnan() and not one["loss_audio"].isnan()


def test_a_training_step_and_a_tower_without_pictures_report_no_mismatch(settings) -> None:
    config = settings("audio", initialise_from="none")
    assert "loss_audio_mismatched" not in objective_of(config)(batch_of(config))
    text = settings("audio", initialise_from="none", model=config.model.model_dump() | {
        "audio": config.model.audio.model_dump() | {"context": "text"}
    })  # fmt: skip
    assert "loss_audio_mismatched" not in objective_of(text).eval()(batch_of(text))


def test_a_coupling_that_needs_an_absent_modality_is_refused(settings) -> None:
    audio = {"latent_dim": 8, "hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 6, "context": "text"}
    with pytest.raises(UserError, match=r"flow\.coupling\.score video.*set it to audio"):
        settings("audio", model={"audio": audio}, flow={"coupling": {"score": "video"}})


@pytest.mark.parametrize(("stage", "share"), [("audio", 1.0), ("audio", 0.5), ("joint", 0.5), ("video", 0.5)])
def test_the_video_tower_sees_the_picture_at_the_time_that_it_is_noised_to(
    settings, monkeypatch, stage: str, share: float
) -> None:
    config = settings(stage, initialise_from="none", flow={"time": {"clean_video": share}})
    objective, batch, seen = objective_of(config), batch_of(config), []
    run = objective.model.video_tower.forward
    monkeypatch.setattr(
        objective.model.video_tower, "forward", lambda *a, **k: seen.append(a[:2]) or run(*a, **k)
    )
    objective(batch)
    path = objective.draw(batch)
    x_t, t = seen[0]
    finished = path.video_t == 1
    assert torch.equal(t, path.video_t) and torch.equal(x_t, path.x_t.video)
    assert torch.equal(x_t[finished], batch.latents.video[finished])
    assert torch.equal(path.video_t[~finished], path.t[~finished])
    assert int(finished.sum()) in {("audio", 1.0): [4], ("video", 0.5): [0]}.get((stage, share), [1, 2, 3])


def test_finished_pictures_are_not_predicted_and_the_others_count_for_them(settings) -> None:
    flow = {"time": {"clean_video": 0.5}, "loss": {"audio_weight": 0.0}}
    config = settings("joint", initialise_from="none", flow=flow)
    objective, batch = objective_of(config), batch_of(config)
    path, metrics = objective.draw(batch), objective(batch)
    error = (objective.velocities(path, batch.text).video - path.velocity.video).square().flatten(1).mean(1)
    expected = float((2 * error * (path.video_t < 1)).mean())
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["loss_video"]) == pytest.approx(expected, rel=1e-5)


def test_a_joint_stage_without_pictures_to_predict_is_refused(settings) -> None:
    with pytest.raises(UserError, match=r"flow\.time\.clean_video 1\.0: no video is left"):
        settings("joint", flow={"time": {"clean_video": 1.0}})


def test_a_loss_that_is_not_finite_ends_training_before_the_update(settings) -> None:
    config = settings("audio", initialise_from="none")
    objective, batch = objective_of(config), batch_of(config)
    batch.latents.audio[2, 0, 0] = torch.nan
    before = {name: p.detach().clone() for name, p in objective.trained.named_parameters()}
    engine = torch_engine(objective, config)
    with pytest.raises(UserError, match=r"step 1: gradient norm is nan; samples \[0, 1, 2, 3\] have loss"):
        engine.step([batch], step=0)
    assert all(torch.equal(before[name], p) for name, p in objective.trained.named_parameters())


def test_prompts_travel_as_they_are_stored_and_become_float32_where_they_are_used(settings) -> None:
    batch = batch_of(settings("audio", initialise_from="none"))
    moved = move(batch, torch.device("cpu"))
    assert batch.text.tokens.dtype == torch.float16 and moved.text.tokens.dtype == torch.float32
    assert torch.equal(moved.text.tokens.half(), batch.text.tokens) and moved.text.mask.dtype == torch.bool


def test_the_video_tower_moves_by_its_share_of_the_rate(settings) -> None:
    moved = {}
    for share in (1.0, 0.1):
        config = settings("joint", initialise_from="none", video_lr_share=share)
        objective, batch = objective_of(config), batch_of(config)
        before = {name: p.detach().clone() for name, p in objective.trained.named_parameters()}
        torch_engine(objective, config).step([batch], step=0)
        moved[share] = {name: p.detach() - before[name] for name, p in objective.trained.named_parameters()}
    assert any(name.startswith("video_tower") and change.any() for name, change in moved[1.0].items())
    for name, change in moved[1.0].items():
        expected = 0.1 * change if name.startswith("video_tower") else change
        torch.testing.assert_close(moved[0.1][name], expected, rtol=1e-3, atol=1e-7)
