import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from syncflow.errors import UserError
from syncflow.model.config import VideoTowerConfig
from syncflow.model.open_sora import (
    export_video_tower,
    import_video_tower,
    load_open_sora_tensors,
    open_sora_tensors,
)
from syncflow.model.video_tower import VideoTower

CHOICES = {"tap": "block", "feature_tokens": "spatial", "feature_grid": 4}


def test_golden_output_and_every_temporal_block(golden_files: Path):
    folder = golden_files / "stdit3_a"
    tower, io = import_video_tower(folder, **CHOICES), load_file(folder / "io.safetensors")
    with torch.no_grad():
        text = tower.prepare_text(io["y"][:, 0], io["mask"].bool(), torch.zeros(2, dtype=torch.bool))
        found = tower(io["x"], 1 - io["timestep"] / 1000, text, fps=16.0, height=64, width=48)
    torch.testing.assert_close(found.velocity, io["output"][:, :4], rtol=0, atol=1e-4)
    for layer, features in enumerate(found.features):
        expected = io[f"temporal_block_{layer}"]
        torch.testing.assert_close(features.flatten(1, 2), expected, rtol=0, atol=1e-4)


def test_export_is_the_exact_inverse_of_import(golden_files: Path, tmp_path: Path):
    folder = golden_files / "stdit3_a"
    export_video_tower(import_video_tower(folder, **CHOICES), tmp_path)
    original, exported = (load_file(each / "model.safetensors") for each in (folder, tmp_path))
    assert original.keys() == exported.keys()
    assert all(torch.equal(original[name], exported[name]) for name in original)
    kept = json.loads((folder / "config.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text()) == kept


def test_every_name_of_the_real_checkpoint_has_its_place(golden_files: Path):
    keys = json.loads(gzip.decompress((golden_files / "keys/OpenSora-STDiT-v3.json.gz").read_bytes()))
    assert len(keys) == 973
    with torch.device("meta"):
        tower = VideoTower(**VideoTowerConfig().model_dump())
        load_open_sora_tensors(
            tower, {name: torch.empty(shape) for name, shape in keys.items()}, source="keys"
        )
    assert {name: list(each.shape) for name, each in open_sora_tensors(tower).items()} == keys
    assert sum(each.numel() for each in tower.state_dict().values()) == 1_208_872_772


def test_missing_extra_and_misshapen_tensors_are_each_named(tools):
    tower = tools.build(tools.settings()).video_tower
    tensors = open_sora_tensors(tower)
    del tensors["x_embedder.proj.bias"]
    tensors["ema.decay"] = torch.zeros(1)
    tensors["t_block.1.bias"] = torch.zeros(5)
    before = {name: each.clone() for name, each in tower.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_open_sora_tensors(tower, tensors, source="there")
    message = str(caught.value)
    assert "missing: x_embedder.proj.bias" in message and "not ours: ema.decay" in message
    assert "misshapen: t_block.1.bias [5] for [192]" in message and "\n" not in message
    assert all(torch.equal(before[name], each) for name, each in tower.state_dict().items())


def test_shards_are_read_as_one(tools, tmp_path: Path):
    tower = tools.build(tools.settings()).video_tower
    export_video_tower(tower, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    for shard, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, tmp_path / f"model-{shard}.safetensors")
    loaded = import_video_tower(tmp_path, **CHOICES)
    assert all(torch.equal(each, loaded.state_dict()[name]) for name, each in tower.state_dict().items())


@pytest.mark.parametrize("content", [None, "{}", "not json", "[]", '{"qk_norm": false, "pred_sigma": true}'])
def test_what_is_not_a_checkpoint_is_a_user_error(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError):
        import_video_tower(tmp_path, **CHOICES)


def test_a_name_that_is_neither_folder_nor_repository_is_a_user_error():
    with pytest.raises(UserError, match="no such folder"):
        import_video_tower("./nowhere/at/all", **CHOICES)
