"""The three stages in order, as pipelines/train_stage.py runs them: Ray, two workers, ZeRO-1, MLflow."""

import copy
from pathlib import Path

import pytest

from infra.local_cluster import cluster
from infra.stage_worker import train_stage
from infra.tracking import client
from syncflow.config import validate
from syncflow.training.checkpoint import CheckpointManifest
from syncflow.training.config import TrainConfig
from tests.syncflow.training.small import SMALL, write_dataset


@pytest.mark.ray
def test_three_stages_hand_over_and_are_tracked(tmp_path: Path) -> None:
    data, uri = write_dataset(tmp_path / "latents"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    with cluster(num_cpus=2):
        for stage in ("video", "audio", "joint"):
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
    found = {
        s: CheckpointManifest.read(tmp_path / "run" / s / "checkpoint") for s in ("video", "audio", "joint")
    }
    assert found["video"].parts["video_tower"] == found["audio"].parts["video_tower"]
    assert found["audio"].parts["video_tower"] != found["joint"].parts["video_tower"]
    store = client(uri)
    runs = store.search_runs([store.get_experiment_by_name("syncflow").experiment_id])
    stages = {run.data.tags["syncflow.stage"]: run for run in runs}
    assert set(stages) == {"pipeline", "video", "audio", "joint"}
    for stage in ("video", "audio", "joint"):
        run = stages[stage]
        assert run.info.status == "FINISHED" and run.data.params["stage"] == stage
        steps = [point.step for point in store.get_metric_history(run.info.run_id, "loss")]
        assert steps == [1, 2, 3, 4, 5, 6]
        assert {"validation/loss", "samples_per_second", "learning_rate"} <= set(run.data.metrics)
        names = {file.path for file in store.list_artifacts(run.info.run_id, "checkpoint")}
        assert "checkpoint/manifest.json" in names
