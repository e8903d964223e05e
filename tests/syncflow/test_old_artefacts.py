"""What earlier versions wrote still opens, loads and goes on: golden/written_by_0_1_0."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.checkpoint import load_checkpoint
from syncflow.config import validate
from syncflow.data.batches import LatentDataset
from syncflow.generation.config import GenerateConfig
from syncflow.generation.reproduce import settings_to_reproduce
from syncflow.generation.sidecar import Sidecar
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.run import run_stage
from tests.syncflow.training.small import SMALL

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def old(repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(repository / "tests" / "golden" / "written_by_0_1_0", tmp_path / "old")


def settings(old: Path) -> TrainConfig:
    values = copy.deepcopy(SMALL)
    for tower in ("video", "audio"):
        values["model"][tower] |= {"depth": 1, "hidden_size": 8}
    values |= {"checkpoint": {"every": 1, "keep": 1}, "batch_size": 2, "steps": 2, "stage": "audio"}
    return validate(TrainConfig, values | {"data": old / "latents", "output": old / "run"}, source="test")


def test_a_dataset_opens(old: Path) -> None:
    dataset = LatentDataset(old / "latents")
    assert len(dataset) > 0
    assert [dataset.sample(g, per_step=2, seed=0).caption for g in range(2)]


def test_a_training_goes_on_to_the_weights_that_the_old_version_reached(old: Path) -> None:
    model, manifest = load_checkpoint(old / "run" / "video" / "checkpoint")
    assert (manifest.stage, manifest.step) == ("video", 2)
    assert run_stage(settings(old)) == 2
    found = load_file(old / "run" / "audio" / "checkpoint" / WEIGHTS)
    expected = load_file(old / "after_two_steps.safetensors")
    assert found.keys() == model.state_dict().keys() > expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=1e-4)


def test_a_sidecar_gives_the_settings_that_make_its_clip_again(old: Path, tmp_path: Path) -> None:
    sidecar = Sidecar.read(old / "clip.json")
    asked = GenerateConfig(checkpoint=old / "pipeline", output=tmp_path / "out")
    config = settings_to_reproduce(sidecar, asked)
    assert (config.checkpoint, config.output, config.device) == (asked.checkpoint, asked.output, "cpu")
    assert (config.solver.steps, config.seed, config.clip.num_frames) == (2, 0, 8)
    assert (sidecar.clip.prompt, sidecar.clip.name) == ("metal rings", "00001-0")
