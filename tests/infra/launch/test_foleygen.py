"""FoleyGen's training as train_foleygen.py runs it: tracked, stopped by a signal, and gone on to its end."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from infra.executors.supervisor import Interrupted
from infra.launch.foleygen import train_foleygen
from infra.tracking.runs import STAGE_TAG, client
from syncflow.config import validate
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.training.resume import saved_steps
from tests.syncflow.foleygen.code_table import SMALL, write_table


def terminate_after_a_state(engine: Path) -> None:
    for _ in range(600):
        if engine.is_dir() and saved_steps(engine):
            break
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_stops_it_with_a_state_and_the_same_command_goes_on(tmp_path: Path) -> None:
    data, uri = write_table(tmp_path / "latents", clips=20), f"sqlite:///{tmp_path / 'mlflow.db'}"
    values = SMALL | {"data": str(data), "output": str(tmp_path / "run"), "checkpoint_every": 2}

    def config(steps: int) -> FoleyGenTrainConfig:
        return validate(
            FoleyGenTrainConfig, values | {"steps": steps, "tracking_uri": uri, "workers": 1}, source="test"
        )

    def statuses() -> list[str]:
        store = client(uri)
        every = [each.experiment_id for each in store.search_experiments()]
        runs = store.search_runs(every)
        return [run.info.status for run in runs if run.data.tags.get(STAGE_TAG) == "foleygen"]

    engine = tmp_path / "run" / "engine"
    threading.Thread(target=terminate_after_a_state, args=(engine,)).start()
    with pytest.raises(Interrupted, match="stopped; the same command goes on from"):
        train_foleygen(config(100_000))
    (last, *_) = saved_steps(engine)
    assert statuses() == ["KILLED"] and not (tmp_path / "run" / "checkpoint").exists()
    steps = int(last.name.removeprefix("step_")) + 1
    assert train_foleygen(config(steps)) == tmp_path / "run" / "checkpoint"
    assert statuses() == ["FINISHED"]
