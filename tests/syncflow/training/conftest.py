"""Fixtures of whole stages at a size that trains in a second."""

import copy
import json
from pathlib import Path

import pytest

from syncflow.config import validate
from syncflow.data.random_dataset import write_dataset
from syncflow.training.stage.config import TrainConfig
from tests.syncflow.training.small import SMALL


@pytest.fixture(scope="session")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty clips, four of them for testing."""
    folder = write_dataset(tmp_path_factory.mktemp("data") / "latents")
    (folder / "small.json").write_text(json.dumps(SMALL), encoding="utf-8")  # for fixtures of wider scope
    return folder


@pytest.fixture
def settings(latents: Path, tmp_path: Path):
    """`settings("audio", steps=3, engine={"kind": "deepspeed"})`: a TrainConfig on the small dataset."""

    def build(stage: str, **changes: object) -> TrainConfig:
        values = copy.deepcopy(SMALL) | {"stage": stage, "data": latents, "output": tmp_path / "run"}
        for name, value in changes.items():
            values[name] = values[name] | value if isinstance(value, dict) and name in values else value
        return validate(TrainConfig, values, source="test")

    return build
