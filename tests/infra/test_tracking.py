"""MLflow: runs found again, points sent once, and a store that fails stops nothing."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event

from infra import tracking
from infra.tracking import DataUsed, TrackedRun, client, close_run, open_run, read_note, write_note
from infra.tracking_points import MlflowCallback
from syncflow.config import validate
from syncflow.training.config import TrainConfig
from syncflow.training.stage_run import run_stage
from tests.infra.tracking_case import opened, send
from tests.syncflow.training.small import SMALL, write_dataset


def impatient(client):
    """`client` whose SQLite gives up on a lock after a moment instead of many seconds."""

    def call(uri: str):
        store = client(uri)
        engine = store._tracking_client.store.engine

        def no_wait(connection, *_: object) -> None:
            connection.execute("PRAGMA busy_timeout = 100")

        event.listen(engine, "checkout", no_wait)
        return store

    return call


def history(run: TrackedRun) -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in client(run.uri).get_metric_history(run.run_id, "loss")]


def test_a_stage_that_goes_on_finds_its_run_and_its_parent(uri: str) -> None:
    first, again = opened(uri, "found", lr=1), opened(uri, "found", lr=2)
    other = opened(uri, "found", "audio")
    assert first == again and other != first
    store = client(uri)
    parents = {store.get_run(run.run_id).data.tags["mlflow.parentRunId"] for run in (first, other)}
    assert len(parents) == 1
    data = store.get_run(first.run_id).data
    assert data.params["lr"] == "1" and data.tags["changed.lr"] == "2"


def test_settings_are_flattened() -> None:
    assert tracking.flatten({"a": {"b": 1, "c": {"d": None}}}) == {"a.b": "1", "a.c.d": "None"}


def test_a_restart_leaves_no_point_twice(uri: str, tmp_path: Path) -> None:
    run = opened(uri, "twice")
    send(run, {1: 3.0, 2: 2.0, 3: 1.5}, spill=tmp_path / "spill.jsonl")
    send(run, {2: 2.0, 3: 1.5, 4: 1.2}, spill=tmp_path / "spill.jsonl", start_step=1)
    assert history(run) == [(1, 3.0), (2, 2.0), (3, 1.5), (4, 1.2)]


def test_points_of_a_store_that_was_down_arrive_once(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, spill = opened(uri, "down"), tmp_path / "spill.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "client", lambda uri: (_ for _ in ()).throw(ConnectionError("refused")))
        send(run, {1: 3.0, 2: 2.0}, spill=spill)
    assert spill.exists() and "ConnectionError: refused" in capsys.readouterr().out
    send(run, {3: 1.0}, spill=spill, start_step=2)
    assert history(run) == [(1, 3.0), (2, 2.0), (3, 1.0)] and not spill.exists()


def test_training_goes_on_while_the_store_is_locked_and_its_points_arrive_once(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole stage runs while another process writes to SQLite and does not end."""
    run, spill = opened(uri, "locked"), tmp_path / "spill.jsonl"
    data = write_dataset(tmp_path / "latents", clips=8)
    values = {**SMALL, "stage": "video", "data": data, "output": tmp_path / "run"}
    config = validate(TrainConfig, values, source="test")
    monkeypatch.setattr(tracking, "client", impatient(tracking.client))
    other = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert run_stage(config, callbacks=[MlflowCallback(run, spill=spill)]) == config.steps
    assert "points wait in" in capsys.readouterr().out and spill.exists()
    other.execute("ROLLBACK")
    other.close()
    assert run_stage(config, callbacks=[MlflowCallback(run, spill=spill)]) == config.steps  # nothing to do
    assert [step for step, _ in history(run)] == [1, 2, 3, 4, 5, 6] and not spill.exists()


def test_points_of_a_run_that_could_not_be_opened_wait_for_the_next_attempt(uri: str, tmp_path: Path) -> None:
    spill = tmp_path / "spill.jsonl"
    send(None, {1: 3.0, 2: 2.0}, spill=spill)
    run = opened(uri, "late")
    send(run, {3: 1.0}, spill=spill, start_step=2)
    assert history(run) == [(1, 3.0), (2, 2.0), (3, 1.0)] and not spill.exists()


def test_a_kill_between_the_store_and_the_file_sends_nothing_twice(uri: str, tmp_path: Path) -> None:
    run, spill = opened(uri, "cut"), tmp_path / "spill.jsonl"
    send(run, {1: 3.0, 2: 2.0}, spill=spill)
    spill.write_text('["loss", 3.0, 1, 1]\n["loss", 2.0, 1, 2]\n["loss", 1.0, 1, 3]\n["lo')
    send(run, {4: 0.5}, spill=spill, start_step=3)
    assert sorted(history(run)) == [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.5)]


def test_kept_points_beyond_the_restored_step_are_dropped(uri: str, tmp_path: Path) -> None:
    run, spill = opened(uri, "beyond"), tmp_path / "spill.jsonl"
    spill.write_text('["loss", 3.0, 1, 1]\n["loss", 9.0, 1, 2]\n')
    send(run, {2: 2.0}, spill=spill, start_step=1)
    assert history(run) == [(1, 3.0), (2, 2.0)]


def test_no_store_at_all_is_said_and_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    uri = f"sqlite:///{blocked}/mlflow.db"
    assert open_run(uri, experiment="e", pipeline="p", stage="video", params={}, tags={}) is None
    assert "training goes on without it" in capsys.readouterr().out
    close_run(None, status="FINISHED")


def test_a_run_names_its_data_and_leaves_a_note(uri: str, tmp_path: Path) -> None:
    used = DataUsed(name="latents", digest="a" * 64, place="/d", context="training", profile={"windows": 3})
    for _ in range(2):  # a stage that goes on names it once
        run = open_run(
            uri, experiment="test", pipeline="data", stage="video", params={}, tags={}, inputs=[used]
        )
    (found,) = client(uri).get_run(run.run_id).inputs.dataset_inputs
    assert found.dataset.name == "latents" and found.dataset.digest == "a" * 36
    write_note(run, tmp_path)
    assert read_note(tmp_path / "checkpoint") == run.run_id and read_note(tmp_path / "a" / "b") == ""
