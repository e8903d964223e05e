import shutil

import pytest
import torch

from syncflow.errors import UserError
from syncflow.training.resume import latest_state
from syncflow.training.stage.moments import carried_moments, with_moments
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.start import check_start


@pytest.fixture
def audio(settings):
    for stage in ("video", "audio"):
        config = settings(stage)
        run_stage(config)
    return config


def test_joint_begins_with_the_moments_of_audio_and_none_for_the_video_tower(audio, settings) -> None:
    earlier = carried_moments(str(audio.folder / "checkpoint"))
    shared, new = "trained.audio_tower.head.weight", "trained.video_tower.head.linear.weight"
    state = with_moments([(name, torch.zeros(1)) for name in (shared, new)], earlier)
    assert torch.equal(state[f"exp_avg/{shared}"], earlier[f"exp_avg/{shared}"])
    assert float(state[f"step/{shared}"]) == 6 and f"step/{new}" not in state


def test_carried_moments_are_counted_on_and_change_the_weights_that_follow(audio, settings) -> None:
    found = {}
    for carry in (False, True):
        config = settings("joint", carry_moments=carry, steps=3)
        check_start(config)
        run_stage(config)
        state = latest_state(config.folder / "engine")
        assert state is not None
        found[carry] = {name: state[name].clone() for name in state}
        shutil.rmtree(config.folder)
    old, new = "trained.audio_tower.head.weight", "trained.video_tower.head.linear.weight"
    assert float(found[True][f"step/{old}"]) == 9 and float(found[True][f"step/{new}"]) == 3
    assert float(found[False][f"step/{old}"]) == 3
    assert not torch.equal(found[True][f"weight/{old}"], found[False][f"weight/{old}"])


def test_a_checkpoint_without_its_states_carries_no_moments(audio, settings) -> None:
    shutil.rmtree(audio.folder / "engine")
    with pytest.raises(UserError, match="no states beside"):
        check_start(settings("joint", carry_moments=True))


def test_only_joint_carries_moments(settings) -> None:
    with pytest.raises(UserError, match="carry_moments: stage audio continues no part"):
        settings("audio", carry_moments=True)
