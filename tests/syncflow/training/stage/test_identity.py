"""What is there is used again if settings, data and first weights are those asked for, and only then."""

import shutil
from pathlib import Path

import pytest

from syncflow.checkpoint import CheckpointManifest
from syncflow.errors import UserError
from syncflow.training.stage.identity import is_finished, set_aside
from syncflow.training.stage.run import run_stage


def test_a_stage_does_not_go_on_when_the_one_before_was_replaced(settings) -> None:
    for stage in ("video", "audio", "joint"):
        run_stage(settings(stage, steps=3))
        assert is_finished(settings(stage, steps=3)) and not is_finished(settings(stage, steps=6))
    before = CheckpointManifest.read(settings("joint").folder / "checkpoint").model_sha256
    other = settings("audio", steps=3, optimizer={"lr": 2e-3, "warmup_steps": 4})
    shutil.rmtree(other.folder)
    run_stage(other)
    refusal = r"first_weights was '\w{12}', now '\w{12}'; .*begin again with --begin-again"
    for steps in (3, 6):
        with pytest.raises(UserError, match=refusal):
            run_stage(settings("joint", steps=steps))
        with pytest.raises(UserError, match=refusal):
            is_finished(settings("joint", steps=steps))
    assert CheckpointManifest.read(settings("joint").folder / "checkpoint").model_sha256 == before
    place = set_aside(settings("joint").folder, keep="writer.lock")
    assert place is not None and (place / "checkpoint").is_dir()
    assert run_stage(settings("joint", steps=3)) == 3
    assert CheckpointManifest.read(settings("joint").folder / "checkpoint").model_sha256 != before


def test_a_checkpoint_of_other_settings_is_refused_though_its_states_are_gone(settings) -> None:
    run_stage(settings("video", steps=3))
    shutil.rmtree(settings("video").folder / "engine")
    assert is_finished(settings("video", steps=3))
    with pytest.raises(UserError, match=r"video/checkpoint: begun with other settings: seed was 0, now 1"):
        is_finished(settings("video", steps=3, seed=1))


def test_what_is_set_aside_is_never_overwritten(tmp_path: Path) -> None:
    assert set_aside(tmp_path, keep="lock") is None
    for number in (1, 2):
        (tmp_path / "lock").touch()
        (tmp_path / "a").write_text(str(number))
        assert set_aside(tmp_path, keep="lock") == tmp_path / f"before_{number}"
    assert [(tmp_path / f"before_{n}" / "a").read_text() for n in (1, 2)] == ["1", "2"]
    assert (tmp_path / "lock").exists()
    (tmp_path / ".lock.owner.beat").touch()  # the lock's owner shows that it lives
    assert set_aside(tmp_path, keep="lock") is None
