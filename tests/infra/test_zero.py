"""ZeRO against the plain engine, and a state that moves between worker numbers and ZeRO stages."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncflow.config import dump_config, validate
from syncflow.training.checkpoint import CheckpointManifest
from syncflow.training.config import TrainConfig
from tests.syncflow.training.small import SMALL, write_dataset

pytestmark = pytest.mark.slow
STEPS = 8


@pytest.fixture(scope="module")
def train(repository: Path, tmp_path_factory: pytest.TempPathFactory):
    """`train("name", workers=2, zero=1, steps=8)`: losses by step of a run in processes of its own."""
    root = tmp_path_factory.mktemp("zero")
    data = write_dataset(root / "latents")

    def run(
        name: str, *, stage: str, workers: int, zero: int | None, steps: int = STEPS, start: str = "none"
    ) -> tuple[TrainConfig, dict[str, float]]:
        engine = {"kind": "torch"} if zero is None else {"kind": "deepspeed", "zero_stage": zero}
        values = copy.deepcopy(SMALL) | {
            "stage": stage,
            "data": data,
            "output": root / name,
            "initialise_from": start,
            "workers": workers,
            "batch_size": 8 // workers,
            "flow": {"coupling": {"method": "none"}},  # it looks at one worker's samples
            "engine": engine | {"bf16": False},
            "checkpoint": {"every": 4, "keep": 3},
            "steps": steps,
        }
        config = validate(TrainConfig, values, source="test")
        preset = root / f"{name}_{stage}_{workers}_{zero}_{steps}.yaml"
        dump_config(config, preset)
        environment = os.environ | {"PYTHONPATH": str(repository), "DS_ACCELERATOR": "cpu"}
        script = repository / "tests" / "infra" / "zero_worker.py"
        done = subprocess.run(
            [sys.executable, str(script), str(workers), str(preset)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        losses: dict[str, float] = {}
        for path in sorted(config.folder.glob("losses_*.json")):
            losses |= json.loads(path.read_text())
        return config, losses

    return run


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_two_workers_have_the_losses_of_the_plain_engine(train, zero: int) -> None:
    _, plain = train("plain", stage="joint", workers=1, zero=None)
    _, sharded = train(f"zero{zero}", stage="joint", workers=2, zero=zero)
    assert len(plain) == STEPS
    assert sharded == pytest.approx(plain, rel=1e-5)


def test_a_run_goes_on_at_another_number_of_workers_and_another_zero_stage(train) -> None:
    whole, plain = train("whole", stage="video", workers=1, zero=None, steps=12)
    train("moved", stage="video", workers=2, zero=1, steps=4)
    train("moved", stage="video", workers=1, zero=3, steps=8)
    moved, losses = train("moved", stage="video", workers=2, zero=2, steps=12)
    assert losses == pytest.approx(plain, rel=1e-5)
    assert CheckpointManifest.read(moved.folder / "checkpoint").step == 12
    assert CheckpointManifest.read(whole.folder / "checkpoint").step == 12


def test_the_frozen_tower_is_the_same_after_stage_two_under_zero(train) -> None:
    video, _ = train("frozen", stage="video", workers=1, zero=None, steps=2)
    audio, _ = train("frozen", stage="audio", workers=2, zero=1, steps=4, start="auto")
    before, after = (CheckpointManifest.read(c.folder / "checkpoint").parts for c in (video, audio))
    assert before["video_tower"] == after["video_tower"] and before["audio_tower"] != after["audio_tower"]
