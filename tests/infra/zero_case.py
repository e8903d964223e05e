"""Stages trained in processes of their own, for the tests of the engines."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

from syncflow.config import dump_config, validate
from syncflow.data.random_dataset import write_dataset
from syncflow.training.stage.config import TrainConfig
from tests.syncflow.training.small import SMALL

Losses = dict[str, float]  # by step; of a validation by its name and step


class Launcher:
    """Stages in processes of their own."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.root, self.repository, self.presets = root, repository, 0
        self.data = write_dataset(root / "latents")

    def config(
        self, name: str, *, zero: int | None, workers: int = 1, stage: str = "video", **changes: object
    ) -> TrainConfig:
        engine = {"kind": "torch"} if zero is None else {"kind": "deepspeed", "zero_stage": zero}
        values = copy.deepcopy(SMALL) | {
            "stage": stage,
            "data": self.data,
            "output": self.root / name,
            "initialise_from": "none",
            "workers": workers,
            "batch_size": 8 // workers,
            "flow": {"coupling": {"scope": "update"}},
            "video_lr_share": 0.5,
            "engine": engine | {"bf16": False},
            "checkpoint": {"every": 2, "keep": 3},
        }
        return validate(TrainConfig, values | changes, source="test")

    def launch(self, *groups: tuple[int, list[TrainConfig]], **environment: str) -> None:
        """Groups one after the other: the number of processes, and what they train."""
        arguments = []
        for processes, configs in groups:
            presets = []
            for config in configs:
                presets.append(str(self.root / f"{self.presets}.yaml"))
                dump_config(config, Path(presets[-1]))
                self.presets += 1
            arguments.append(f"{processes}:{','.join(presets)}")
        path = os.pathsep.join((str(self.repository), *filter(None, [os.environ.get("PYTHONPATH")])))
        done = subprocess.run(
            [sys.executable, "tests/infra/zero_worker.py", *arguments],
            cwd=self.repository,
            env=os.environ | {"PYTHONPATH": path, "DS_ACCELERATOR": "cpu"} | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]


def errors(config: TrainConfig) -> list[str]:
    """What each worker ended with, where it was refused."""
    return [path.read_text() for path in sorted(config.folder.glob("error_*.txt"))]


def losses(config: TrainConfig) -> Losses:
    parts = [json.loads(p.read_text()) for p in sorted(config.folder.glob("losses_*.json"))]
    return {step: loss for part in parts for step, loss in part.items()}
