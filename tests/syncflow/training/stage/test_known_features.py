"""Features of finished videos are computed once, and a stage learns from them as from those of every step."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.training.stage.checkpoint import CheckpointManifest
from syncflow.training.stage.known_features import KnownFeatures
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model
from tests.syncflow.training.stage.test_run import Losses

FINISHED = {"flow": {"time": {"clean_video": 1.0}, "coupling": {"score": "video"}}, "one_video_draw": True}
STEPS = 12  # three passes over 16 windows


@pytest.fixture
def objective_of(settings) -> Callable[[float], tuple[FlowObjective, LatentDataset]]:
    def build(gb: float) -> tuple[FlowObjective, LatentDataset]:
        config = settings("audio", initialise_from="none", **FINISHED)
        data = LatentDataset(config.data, one_video_draw=True)
        model, _ = starting_model(config)
        torch.nn.init.normal_(model.audio_tower.head.weight, generator=torch.Generator().manual_seed(0))
        objective = FlowObjective(
            model,
            stage=STAGES["audio"],
            flow=config.flow,
            spec=data.spec,
            frame_times=data.frame_times,
            seed=0,
            features_gb=gb,
        )
        return objective, data

    return build


def losses(objective: FlowObjective, data: LatentDataset) -> list[float]:
    batches = (data.batch(step, batch_size=4, drop_probability=0.3) for step in range(STEPS))
    return [objective(batch)["loss"].item() for batch in batches]


def test_a_window_and_its_prompts_state_are_seen_once_and_the_losses_stay(objective_of) -> None:
    objective, data = objective_of(1.0)
    plain, _ = objective_of(0.0)
    assert plain.known is None
    found = losses(objective, data)
    assert found == pytest.approx(losses(plain, data), rel=1e-5)
    states = {
        state
        for step in range(STEPS)
        for batch in [data.batch(step, batch_size=4, drop_probability=0.3)]
        for state in zip(batch.window.tolist(), batch.text.dropped.tolist(), strict=True)
    }
    assert isinstance(objective.known, KnownFeatures)
    assert objective.known.computed == len(states) < 4 * STEPS
    assert losses(objective, data) == found and objective.known.computed == len(states)


def test_what_has_no_place_is_computed_each_time(objective_of) -> None:
    roomy, data = objective_of(1.0)
    few, _ = objective_of(1e-5)  # some windows' worth
    found = losses(few, data)
    assert 0 < len(few.known.kept) < 16 and few.known.computed > 16
    assert found == losses(roomy, data)


def test_features_do_not_depend_on_the_batch(objective_of) -> None:
    objective, data = objective_of(1.0)
    losses(objective, data)
    other, _ = objective_of(1.0)
    for g in reversed(range(4 * STEPS)):
        alone = data.samples(range(g, g + 1), among=range(g, g + 1), per_step=4, drop_probability=0.3)
        other(alone)
    assert other.known.kept.keys() == objective.known.kept.keys()
    for key, features in objective.known.kept.items():
        assert torch.equal(features, other.known.kept[key])


def test_a_window_keeps_its_video_draw_and_not_its_audio_draw(latents: Path) -> None:
    def of_window(data: LatentDataset) -> tuple[torch.Tensor, torch.Tensor]:
        batches = [data.batch(step, batch_size=4) for step in range(STEPS)]
        rows = torch.cat([batch.window for batch in batches])
        seen = rows == rows[0]
        assert seen.sum() == 3
        video, audio = (
            torch.cat([getattr(batch.latents, part) for batch in batches]) for part in ("video", "audio")
        )
        return video[seen], audio[seen]

    video, audio = of_window(LatentDataset(latents, one_video_draw=True))
    assert torch.equal(video[0], video[1]) and torch.equal(video[0], video[2])
    assert not torch.equal(audio[0], audio[1])
    video, _ = of_window(LatentDataset(latents))
    assert not torch.equal(video[0], video[1])


def test_a_run_that_goes_on_ends_as_an_unbroken_one(settings, tmp_path: Path) -> None:
    whole = settings("audio", initialise_from="none", output=tmp_path / "whole", **FINISHED)
    broken = settings("audio", initialise_from="none", output=tmp_path / "broken", **FINISHED)
    assert whole.knows_features
    run_stage(whole)
    with pytest.raises(KeyboardInterrupt):
        run_stage(broken, callbacks=[Losses(die_at=4)])
    run_stage(broken)
    hashes = [CheckpointManifest.read(each.folder / "checkpoint").model_sha256 for each in (whole, broken)]
    assert hashes[0] == hashes[1]
    with pytest.raises(UserError, match="one_video_draw was True, now None"):
        run_stage(broken.model_copy(update={"one_video_draw": False}))


def test_videos_whose_time_or_tower_changes_are_seen_each_time(settings) -> None:
    assert not settings("audio", one_video_draw=True).knows_features
    assert not settings("joint", one_video_draw=True, flow={"time": {"clean_video": 0.5}}).knows_features
    assert not settings("audio", **FINISHED | {"one_video_draw": False}).knows_features
    assert not settings("audio", **FINISHED, features_gb=0.0).knows_features
