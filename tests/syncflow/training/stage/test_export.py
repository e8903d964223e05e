"""A checkpoint of a saved state: the weights of that state, the frozen parts of the stage, nothing else."""

import shutil
from pathlib import Path

import pytest
import torch

from syncflow.checkpoint import load_checkpoint
from syncflow.config import dump_config, validate
from syncflow.data.random_dataset import write_dataset
from syncflow.errors import UserError
from syncflow.training.resume import SavedState
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.export import export_checkpoints
from syncflow.training.stage.export_config import ExportConfig
from syncflow.training.stage.run import run_stage
from tests.syncflow.training.small import SMALL


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A stage `audio` of six steps with states of steps 3 and 6."""
    root = tmp_path_factory.mktemp("exported")
    values = SMALL | {"stage": "audio", "data": write_dataset(root / "latents"), "output": root / "run"}
    config = validate(TrainConfig, values | {"initialise_from": "none"}, source="test")
    assert run_stage(config) == 6
    dump_config(config, config.folder / "resolved.yaml")
    return config


def test_a_checkpoint_of_the_last_state_is_the_hand_over(trained: TrainConfig) -> None:
    folders = export_checkpoints(ExportConfig(run=trained.folder))
    assert [folder.name for folder in folders] == ["step_00000003", "step_00000006"]
    handed, manifest = load_checkpoint(trained.folder / "checkpoint")
    last, exported = load_checkpoint(folders[1])
    assert exported == manifest
    for name, tensor in handed.state_dict().items():
        assert torch.equal(last.state_dict()[name], tensor)


@pytest.mark.parametrize(("weights", "kind"), [("ema", "ema"), ("raw", "weight")])
def test_a_checkpoint_of_an_earlier_state_has_that_states_weights(
    trained: TrainConfig, tmp_path: Path, weights: str, kind: str
) -> None:
    config = ExportConfig(run=trained.folder, steps=(3,), output=tmp_path, weights=weights)
    (folder,) = export_checkpoints(config)
    model, manifest = load_checkpoint(folder)
    assert (manifest.step, manifest.weights, manifest.averaged) == (3, weights, 1)
    state = SavedState(trained.folder / "engine" / "step_00000003")
    own = {name: tensor for name, tensor in state.items() if name.startswith(f"{kind}/trained.")}
    assert own
    for name, tensor in own.items():
        assert torch.equal(model.state_dict()[name.removeprefix(f"{kind}/trained.")], tensor)


def test_a_training_under_way_exports_what_it_would_after_its_end(
    trained: TrainConfig, tmp_path: Path
) -> None:
    """Before there is a hand-over, frozen parts are made as training makes them."""
    before = export_checkpoints(ExportConfig(run=trained.folder, output=tmp_path / "before"))
    shutil.copytree(trained.output, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "audio" / "checkpoint")
    moved = trained.model_copy(update={"output": tmp_path / "copy"})
    dump_config(moved, moved.folder / "resolved.yaml")
    after = export_checkpoints(ExportConfig(run=moved.folder, output=tmp_path / "after"))
    pairs = zip(before, after, strict=True)
    assert all(load_checkpoint(a)[1].model_sha256 == load_checkpoint(b)[1].model_sha256 for a, b in pairs)


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(trained: TrainConfig, tmp_path: Path) -> None:
    def refusal(**changes: object) -> str:
        with pytest.raises(UserError) as caught:
            export_checkpoints(ExportConfig(**{"run": trained.folder, "output": tmp_path / "out"} | changes))
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "has states of 3, 6" in refusal(steps=(4,))
    assert "no engine and resolved.yaml" in refusal(run=tmp_path)
    shutil.copytree(trained.folder, tmp_path / "audio")
    part = tmp_path / "audio" / "engine" / "step_00000003" / "part_00000.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    assert "damaged" in refusal(run=tmp_path / "audio")
