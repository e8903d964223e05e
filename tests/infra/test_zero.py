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
Losses = dict[str, float]  # by step


class Launcher:
    """Stages in processes of their own: `add` some, then `launch` them one after the other in N workers."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.root, self.repository = root, repository
        self.data = write_dataset(root / "latents")

    def config(self, name: str, *, workers: int, zero: int | None, stage: str = "video", **changes: object):
        engine = {"kind": "torch"} if zero is None else {"kind": "deepspeed", "zero_stage": zero}
        values = copy.deepcopy(SMALL) | {
            "stage": stage,
            "data": self.data,
            "output": self.root / name,
            "initialise_from": "none",
            "workers": workers,
            "batch_size": 8 // workers,
            "flow": {"coupling": {"method": "none"}},  # it looks at one worker's samples
            "engine": engine | {"bf16": False},
            "checkpoint": {"every": 2, "keep": 3},
        }
        return validate(TrainConfig, values | changes, source="test")

    def launch(self, *configs: TrainConfig) -> list[Losses]:
        presets = []
        for number, config in enumerate(configs):
            presets.append(self.root / f"{number}.yaml")
            dump_config(config, presets[-1])
        done = subprocess.run(
            [sys.executable, "tests/infra/zero_worker.py", str(configs[0].workers), *map(str, presets)],
            cwd=self.repository,
            env=os.environ | {"PYTHONPATH": str(self.repository), "DS_ACCELERATOR": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [self.losses(config) for config in configs]

    @staticmethod
    def losses(config: TrainConfig) -> Losses:
        parts = [json.loads(p.read_text()) for p in sorted(config.folder.glob("losses_*.json"))]
        return {step: loss for part in parts for step, loss in part.items()}


@pytest.fixture(scope="module")
def launcher(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("zero"), repository)


@pytest.fixture(scope="module")
def plain(launcher: Launcher) -> Losses:
    """Six steps of the video stage on one worker with the plain engine."""
    return launcher.launch(launcher.config("plain", workers=1, zero=None, steps=6))[0]


def test_two_workers_have_the_losses_of_the_plain_engine(launcher: Launcher, plain: Losses) -> None:
    configs = [launcher.config(f"zero{stage}", workers=2, zero=stage, steps=6) for stage in (0, 1, 2, 3)]
    for losses in launcher.launch(*configs):
        assert len(losses) == 6 and losses == pytest.approx(plain, rel=1e-5)


def test_a_run_goes_on_at_another_number_of_workers_and_zero_stage(launcher: Launcher, plain: Losses) -> None:
    launcher.launch(launcher.config("moved", workers=2, zero=1, steps=2))
    launcher.launch(launcher.config("moved", workers=1, zero=3, steps=4))
    (losses,) = launcher.launch(launcher.config("moved", workers=2, zero=2, steps=6))
    assert len(losses) == 6 and losses == pytest.approx(plain, rel=1e-5)


def test_the_frozen_tower_is_the_same_after_stage_two_under_zero(launcher: Launcher) -> None:
    first = launcher.config("frozen", workers=2, zero=1, steps=2)
    second = launcher.config("frozen", workers=2, zero=1, stage="audio", steps=4, initialise_from="auto")
    launcher.launch(first, second)
    before, after = (CheckpointManifest.read(c.folder / "checkpoint").parts for c in (first, second))
    assert before["video_tower"] == after["video_tower"] and before["audio_tower"] != after["audio_tower"]
