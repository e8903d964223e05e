"""One trainer a folder: a second one is refused before it changes anything, and the first is named."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.launch.autoencoder import train_with_ray
from infra.launch.foleygen import train_foleygen
from infra.launch.stage import train_stage
from syncflow.config import validate
from syncflow.data.parquet.lock import writer_lock
from syncflow.data.random_dataset import write_dataset
from syncflow.errors import UserError
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.training.stage.config import TrainConfig
from tests.autoencoder_case import small_config, write_clips
from tests.syncflow.foleygen.code_table import SMALL as SMALL_FOLEYGEN
from tests.syncflow.foleygen.code_table import write_table
from tests.syncflow.training.small import SMALL

Trainer = tuple[Path, Callable[[], object]]  # the folder that is trained in, and the call


def stage(folder: Path) -> Trainer:
    values = SMALL | {"stage": "video", "data": write_dataset(folder / "latents"), "output": folder / "run"}
    config = validate(TrainConfig, values, source="test")
    return config.folder, lambda: train_stage(config, in_this_process=True)


def foleygen(folder: Path) -> Trainer:
    values = SMALL_FOLEYGEN | {"data": str(write_table(folder / "latents", clips=20)), "tracking_uri": "none"}
    values |= {"output": str(folder / "run"), "workers": 1, "steps": 2}
    config = validate(FoleyGenTrainConfig, values, source="test")
    return config.output, lambda: train_foleygen(config)


def autoencoder(folder: Path) -> Trainer:
    config = small_config("audio", clips=write_clips(folder / "clips", count=2), output=folder / "vae")
    return config.output, lambda: train_with_ray(config)


@pytest.mark.parametrize("trainer", [stage, foleygen, autoencoder])
def test_the_second_is_refused_and_leaves_the_folder_as_it_was(
    tmp_path: Path, trainer: Callable[[Path], Trainer]
) -> None:
    folder, train = trainer(tmp_path)
    folder.mkdir(parents=True)
    (folder / "stop").write_text("SIGTERM")  # the first one is ending
    with writer_lock(folder):
        before = sorted(folder.rglob("*"))
        with pytest.raises(UserError, match=f"held by process {os.getpid()} on"):
            train()
        assert sorted(folder.rglob("*")) == before
