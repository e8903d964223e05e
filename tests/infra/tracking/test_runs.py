"""MLflow: runs found again, points sent once, and a store that fails stops nothing."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event

from infra.launch.stage import StageJob, train_worker
from infra.tracking import runs as tracking
from infra.tracking.points import MlflowCallback
from infra.tracking.runs import (
    DataUsed,
    Note,
    TrackedRun,
    client,
    close_run,
    open_run,
    opened_by,
    run_that_made,
)
from syncflow.config import validate
from syncflow.data.random_dataset import write_dataset
from syncflow.errors import UserError
from syncflow.places import sqlite_file
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.run import run_stage
from tests.infra.tracking_case import opened, send
from tests.syncflow.training.small import SMALL


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
    first, again = opened(uri, "found", lr=1), opened(uri, "found", goes_on=True, lr=2)
    other = opened(uri, "found", "audio")
    assert first == again and other != first
    store = client(uri)
    parents = {store.get_run(run.run_id).data.tags["mlflow.parentRunId"] for run in (first, other)}
    assert len(parents) == 1
    data = store.get_run(first.run_id).data
    assert data.params["lr"] == "1" and data.tags["changed.lr"] == "2"


def test_a_training_begun_anew_under_a_known_name_is_a_new_run_and_loses_no_point(
    uri: str, tmp_path: Path
) -> None:
    old = opened(uri, "anew", lr=1)
    send(old, {1: 3.0, 2: 2.0, 3: 1.0}, spill=tmp_path / "spill.jsonl")
    close_run(old, status="FINISHED")
    new = opened(uri, "anew", lr=2)
    assert new.run_id != old.run_id
    send(new, {1: 9.0, 2: 8.0}, spill=tmp_path / "spill.jsonl")
    assert history(old) == [(1, 3.0), (2, 2.0), (3, 1.0)] and history(new) == [(1, 9.0), (2, 8.0)]
    store = client(uri)
    before = store.get_run(old.run_id)
    assert before.info.status == "FINISHED" and before.data.params["lr"] == "1"
    assert not any(name.startswith("changed.") for name in before.data.tags)


def test_a_removed_output_is_a_new_run_though_the_settings_are_the_same(uri: str) -> None:
    old = opened(uri, "removed", lr=1)
    assert opened(uri, "removed", lr=1) == old
    place = sqlite_file(uri)
    assert place is not None
    shutil.rmtree(place.parent / "made" / "removed")
    assert opened(uri, "removed", lr=1) != old


def test_a_deleted_run_is_not_taken_up_again(uri: str) -> None:
    old = opened(uri, "deleted", lr=1)
    client(uri).delete_run(old.run_id)
    assert opened(uri, "deleted", goes_on=True, lr=1) != old


@pytest.mark.parametrize("name", ["Bob's run", 'a "quoted" one', """both ' and " of them""", "a % b?"])
def test_a_run_may_have_any_name(uri: str, name: str) -> None:
    first = opened(uri, name, lr=1)
    second = opened(uri, name, "audio", lr=1)
    store = client(uri)
    parents = {store.get_run(run.run_id).data.tags["mlflow.parentRunId"] for run in (first, second)}
    assert len(parents) == 1


def test_a_deleted_experiment_is_named_with_its_remedy(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_it() -> TrackedRun | None:
        return open_run(
            uri,
            experiment="gone",
            pipeline="p",
            stage="video",
            folder=tmp_path,
            identity="",
            params={},
            tags={},
        )

    assert open_it() is not None
    store = client(uri)
    experiment = store.get_experiment_by_name("gone").experiment_id
    store.delete_experiment(experiment)
    (tmp_path / "mlflow_run.json").unlink()
    assert open_it() is None
    told = capsys.readouterr().out
    assert "experiment 'gone' is deleted" in told and f"--experiment-id {experiment}" in told
    assert "does not answer" not in told
    store.restore_experiment(experiment)
    assert open_it() is not None


@pytest.mark.parametrize("name", ["what? now", "100%20 sure", "it's # here"])
def test_a_store_lies_in_the_folder_that_is_named(tmp_path: Path, name: str) -> None:
    config = validate(
        TrainConfig, {"stage": "video", "data": "/d", "output": tmp_path / name / "run"}, source=""
    )
    run = open_run(
        config.tracking,
        experiment="e",
        pipeline="p",
        stage="s",
        folder=config.folder,
        identity="",
        params={},
        tags={},
    )
    assert run is not None and (tmp_path / name / "mlflow.db").is_file()
    assert [path.parent.name for path in tmp_path.rglob("*.db")] == [name]


def test_a_relative_store_is_the_same_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"stage": "video", "data": "/d", "tracking_uri": "sqlite:///rel/mlflow.db"}
    config = validate(TrainConfig, values, source="test")
    assert config.tracking == f"sqlite:///{tmp_path}/rel/mlflow.db"
    assert validate(TrainConfig, config.model_dump(), source="test") == config
    home = validate(TrainConfig, values | {"tracking_uri": "sqlite:///~/mlflow.db"}, source="test")
    assert home.tracking == f"sqlite:///{Path.home()}/mlflow.db"
    server = values | {"tracking_uri": "http://127.0.0.1:5000"}
    assert validate(TrainConfig, server, source="test").tracking == "http://127.0.0.1:5000"


def test_a_refused_request_leaves_the_files_and_the_finished_run_as_they_were(
    uri: str, tmp_path: Path
) -> None:
    values = SMALL | {
        "stage": "video",
        "data": write_dataset(tmp_path / "latents", clips=8),
        "output": tmp_path / "run",
        "tracking_uri": uri,
        "run": "refused",
    }
    config = validate(TrainConfig, values, source="test")
    job = StageJob(config=config)
    train_worker(job)
    run = opened_by(job.attempt, config.folder)
    assert run is not None and len(history(run)) == 6
    close_run(run, status="FINISHED")
    before = {path: path.read_bytes() for path in config.folder.rglob("*") if path.is_file()}

    other = StageJob(config=config.model_copy(update={"seed": 1, "steps": 9}))
    with pytest.raises(UserError, match="seed was 0, now 1"):
        train_worker(other)
    assert opened_by(other.attempt, config.folder) is None
    assert {path: path.read_bytes() for path in config.folder.rglob("*") if path.is_file()} == before
    info = client(uri).get_run(run.run_id)
    assert info.info.status == "FINISHED" and "changed.seed" not in info.data.tags

    longer = StageJob(config=config.model_copy(update={"steps": 8}))
    train_worker(longer)
    assert opened_by(longer.attempt, config.folder) == run and [s for s, _ in history(run)] == [*range(1, 9)]


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
    found = open_run(
        uri, experiment="e", pipeline="p", stage="video", folder=tmp_path, identity="", params={}, tags={}
    )
    assert found is None and Note.read(tmp_path) is None
    assert "training goes on without it" in capsys.readouterr().out
    close_run(None, status="FINISHED")


def test_a_run_names_its_data_and_leaves_a_note(uri: str, tmp_path: Path) -> None:
    used = DataUsed(name="latents", digest="a" * 64, place="/d", context="training", profile={"windows": 3})
    for _ in range(2):  # a stage that goes on names it once
        run = open_run(
            uri,
            experiment="test",
            pipeline="data",
            stage="video",
            folder=tmp_path,
            identity="same",
            params={},
            tags={},
            inputs=[used],
        )
    assert run is not None
    (found,) = client(uri).get_run(run.run_id).inputs.dataset_inputs
    assert found.dataset.name == "latents" and found.dataset.digest == "a" * 36
    assert run_that_made(tmp_path / "checkpoint") == run.run_id and run_that_made(tmp_path / "a" / "b") == ""
