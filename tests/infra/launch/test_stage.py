"""Stages in order, as pipelines/train_stage.py runs them: Ray, two workers, ZeRO-1, MLflow."""

import copy
from pathlib import Path

import pytest

from infra.launch.stage import train_stage
from infra.tracking.runs import client
from syncflow.checkpoint import CheckpointManifest
from syncflow.config import validate
from syncflow.data.random_dataset import write_dataset
from syncflow.training.stage.config import TrainConfig
from tests.syncflow.training.small import SMALL

STAGES = ("video", "audio")  # of the three; tests/infra/zero/test_zero.py goes on to `joint`


@pytest.mark.ray
def test_stages_hand_over_and_are_tracked(ray_of_two: None, tmp_path: Path) -> None:
    data, uri = write_dataset(tmp_path / "latents"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    for stage in STAGES:
        values = copy.deepcopy(SMALL) | {
            "stage": stage,
            "data": data,
            "output": tmp_path / "run",
            "workers": 2,
            "engine": {"kind": "deepspeed", "zero_stage": 1, "bf16": False},
            "tracking_uri": uri,
            "validate_every": 3,
        }
        assert train_stage(validate(TrainConfig, values, source="test")) is not None
    video, audio = (CheckpointManifest.read(tmp_path / "run" / stage / "checkpoint") for stage in STAGES)
    assert video.parts["video_tower"] == audio.parts["video_tower"]
    assert video.parts["audio_tower"] != audio.parts["audio_tower"]
    store = client(uri)
    runs = store.search_runs([store.get_experiment_by_name("syncflow").experiment_id])
    stages = {run.data.tags["syncflow.stage"]: run for run in runs}
    assert set(stages) == {"pipeline", *STAGES}
    for stage in STAGES:
        run = stages[stage]
        assert run.info.status == "FINISHED" and run.data.params["stage"] == stage
        steps = [point.step for point in store.get_metric_history(run.info.run_id, "loss")]
        assert steps == [1, 2, 3, 4, 5, 6]
        assert {"validation/loss", "samples_per_second", "learning_rate"} <= set(run.data.metrics)
        names = {file.path for file in store.list_artifacts(run.info.run_id, "checkpoint")}
        assert "checkpoint/manifest.json" in names
