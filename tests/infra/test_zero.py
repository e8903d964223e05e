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
from syncflow.training.stages import STAGES
from tests.syncflow.training.small import SMALL, write_dataset

pytestmark = pytest.mark.slow
Losses = dict[str, float]  # by step


class Launcher:
    """Stages in processes of their own: `add` some, then `launch` them one after the other in N workers."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.root, self.repository = root, repository
        self.data = write_dataset(root / "latents")

    def config(
        self, name: str, *, zero: int | None, workers: int = 1, stage: str = "video", **changes: object
    ):
        engine = {"kind": "torch"} if zero is None else {"kind": "deepspeed", "zero_stage": zero}
        values = copy.deepcopy(SMALL) | {
            "stage": stage,
            "data": self.data,
            "output": self.root / name,
            "initialise_from": "none",
            "workers": workers,
            "batch_size": 8 // workers,
            "flow": {"coupling": {"scope": "update"}},
            "engine": engine | {"bf16": False},
            "checkpoint": {"every": 2, "keep": 3},
        }
        return validate(TrainConfig, values | changes, source="test")

    def launch(self, *configs: TrainConfig, processes: int = 0) -> list[Losses]:
        presets = []
        for number, config in enumerate(configs):
            presets.append(self.root / f"{number}.yaml")
            dump_config(config, presets[-1])
        done = subprocess.run(
            [
                sys.executable,
                "tests/infra/zero_worker.py",
                str(processes or configs[0].workers),
                *map(str, presets),
            ],
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


STEPS = 20
LAST = {"every": STEPS, "keep": 1}  # the only state


@pytest.fixture(scope="module")
def plain(launcher: Launcher) -> dict[str, Losses]:
    """Twenty steps of each stage on one worker with the plain engine."""
    configs = [launcher.config("plain", zero=None, stage=s, steps=STEPS, checkpoint=LAST) for s in STAGES]
    return dict(zip(STAGES, launcher.launch(*configs), strict=True))


def test_two_workers_have_the_losses_of_the_plain_engine(
    launcher: Launcher, plain: dict[str, Losses]
) -> None:
    cases = [(stage, zero) for stage in STAGES for zero in (0, 1, 2, 3)]
    configs = [
        launcher.config(f"zero{z}", workers=2, zero=z, stage=s, steps=STEPS, checkpoint=LAST)
        for s, z in cases
    ]
    for (stage, _), losses in zip(cases, launcher.launch(*configs), strict=True):
        assert len(losses) == STEPS and losses == pytest.approx(plain[stage], rel=1e-5)


def test_a_run_goes_on_at_another_number_of_workers_and_zero_stage(
    launcher: Launcher, plain: dict[str, Losses]
) -> None:
    """Three workers share eight samples unevenly."""
    launcher.launch(launcher.config("moved", workers=2, zero=1, steps=6))
    launcher.launch(launcher.config("moved", workers=1, zero=3, steps=12))
    last = launcher.config("moved", workers=4, zero=2, steps=STEPS)
    (losses,) = launcher.launch(last, processes=3)
    assert len(losses) == STEPS and losses == pytest.approx(plain["video"], rel=1e-5)


def test_the_frozen_tower_is_the_same_after_stage_two_under_zero(launcher: Launcher) -> None:
    first = launcher.config("frozen", workers=2, zero=1, steps=2)
    second = launcher.config("frozen", workers=2, zero=1, stage="audio", steps=4, initialise_from="auto")
    launcher.launch(first, second)
    before, after = (CheckpointManifest.read(c.folder / "checkpoint").parts for c in (first, second))
    assert before["video_tower"] == after["video_tower"] and before["audio_tower"] != after["audio_tower"]
