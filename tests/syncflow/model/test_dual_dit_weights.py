"""Weights of the whole model: the first ones, and those that were saved."""

import json
from pathlib import Path

import pytest
import torch

from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT


@torch.no_grad()
def test_a_new_model_is_the_same_for_the_same_generator_and_moves_nothing(tools):
    first, second = (DualDiT(**tools.settings().model_dump()) for _ in range(2))
    for model in (first, second):
        model.initialize(generator=torch.Generator().manual_seed(3))
    assert tensors_sha256(first.state_dict()) == tensors_sha256(second.state_dict())
    velocity = first(tools.latents(), torch.tensor([0.2, 0.7]), tools.prompts(), **tools.clip)
    assert not velocity.video.any() and not velocity.audio.any()


@pytest.mark.parametrize("norm", ["output", "residual"])
def test_initialize_sets_every_tensor(tools, norm: str):
    config = tools.settings(audio={"context": "video_and_text", "norm": norm})
    config = config.model_copy(update={"adaptor": config.adaptor.model_copy(update={"whiten": True})})
    usual = DualDiT(**config.model_dump())
    usual.initialize(generator=torch.Generator().manual_seed(5))
    filled = DualDiT(**config.model_dump())
    for tensor in filled.state_dict().values():
        tensor.fill_(torch.nan)
    filled.initialize(generator=torch.Generator().manual_seed(5))
    made = DualDiT.random(config, generator=torch.Generator().manual_seed(5))
    assert made.video_tower.rotary_frequencies.dtype == torch.float32
    for other in (filled, made):
        assert tensors_sha256(other.state_dict()) == tensors_sha256(usual.state_dict())


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same_model(tools, tmp_path: Path):
    model = tools.build(tools.settings(audio={"context": "video_and_text"}))
    model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.rglob("*.bin"))
    loaded = DualDiT.from_pretrained(tmp_path / "model", low_cpu_mem_usage=False)
    assert tensors_sha256(loaded.state_dict()) == tensors_sha256(model.state_dict())
    assert loaded.settings == model.settings
    saved = tmp_path / "model" / "config.json"
    older = json.loads(saved.read_text()) | {"frame_spans": [[0, 0], [1, 4]]}
    saved.write_text(json.dumps(older))
    older_model = DualDiT.from_pretrained(tmp_path / "model", low_cpu_mem_usage=False)
    assert tensors_sha256(older_model.state_dict()) == tensors_sha256(model.state_dict())
    assert older_model.settings == model.settings and "frame_spans" not in older_model.config
    for part in (model.video_tower, model.audio_tower):
        part.save_pretrained(tmp_path / "part")
        again = type(part).from_pretrained(tmp_path / "part", low_cpu_mem_usage=False)
        assert tensors_sha256(again.state_dict()) == tensors_sha256(part.state_dict())
