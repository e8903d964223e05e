"""A full disk while a job trains: no state is lost, training goes on where it can, and one line says it."""

import errno
import os
from pathlib import Path

import pytest

from infra.executors.ray_train import Call, _worker
from infra.tracking.points import MlflowCallback
from syncflow.command_ending import run
from syncflow.config import dump_config, load_config
from syncflow.errors import UserError, full_disk
from syncflow.training.stage.config import TrainConfig
from tests.full_disk import disk_of
from tests.infra.tracking_case import opened


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there")


def test_points_wait_in_memory_and_arrive_once_when_there_is_room(tmp_path: Path, capsys) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run, spill = opened(uri, "full"), tmp_path / "spill.jsonl"
    callback = MlflowCallback(None, spill=spill)  # the store does not answer yet
    callback.on_start(start_step=0, steps=9)
    callback.on_log(1, {"loss": 3.0})
    with disk_of(spill.stat().st_size + 10):
        callback.on_log(2, {"loss": 2.0})
        callback.on_log(3, {"loss": 1.0})
    assert capsys.readouterr().out.count("cannot be written (File too large); points for MLflow wait") == 1
    callback.on_log(4, {"loss": 0.5})
    callback.on_end(4)
    assert "points are lost" not in capsys.readouterr().out
    later = MlflowCallback(run, spill=spill)
    later.on_start(start_step=4, steps=9)
    later.on_log(5, {"loss": 0.25})
    later.on_end(5)
    history = later._store.get_metric_history(run.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == list(
        zip(range(1, 6), (3.0, 2.0, 1.0, 0.5, 0.25), strict=True)
    )
    assert not spill.exists()


def test_points_that_are_lost_are_counted(tmp_path: Path, capsys) -> None:
    spill = tmp_path / "spill.jsonl"
    callback = MlflowCallback(None, spill=spill)
    callback.on_start(start_step=0, steps=9)
    with disk_of(10):
        callback.on_log(1, {"loss": 3.0, "rate": 1.0})
        callback.on_end(1)
    assert f"MLflow: 2 points are lost: {spill} cannot be written" in capsys.readouterr().out


def test_settings_that_cannot_be_written_leave_those_that_are_there(tmp_path: Path) -> None:
    config = TrainConfig(stage="video", data=tmp_path)
    dump_config(config, tmp_path / "resolved.yaml")
    with disk_of(100), pytest.raises(OSError, match="File too large"):
        dump_config(config.model_copy(update={"seed": 1}), tmp_path / "resolved.yaml")
    assert load_config(TrainConfig, tmp_path / "resolved.yaml").seed == 0
    assert [path.name for path in tmp_path.iterdir()] == ["resolved.yaml"]


def test_a_command_says_it_in_one_line(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(full)
    told = capsys.readouterr().err
    assert told.startswith("error: /there: No space left on device; what was saved before is kept: make room")
    assert told.count("\n") == 1

    def other() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/there")

    with pytest.raises(PermissionError):  # a fault of ours until it is looked at
        run(other)


def test_a_worker_on_a_full_disk_is_not_started_again(tmp_path: Path) -> None:
    call = Call(tmp_path)
    with pytest.raises(UserError, match="No space left on device; what was saved"):
        _worker({"function": full, "config": None, "call": call})
    assert "No space left" in call.error.read_text()
    with disk_of(0), pytest.raises(UserError, match="No space left"):  # the note does not fit either
        _worker({"function": full, "config": None, "call": Call(tmp_path / "not_there")})


def test_what_safetensors_says_of_a_full_disk_is_known() -> None:
    assert full_disk(RuntimeError("I/O error: No space left on device (os error 28)")).startswith("No space")
    assert full_disk(RuntimeError("os error of another kind")) == ""
