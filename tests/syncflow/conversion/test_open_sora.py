"""Open-Sora's formats by the command: what is exported is what Open-Sora reads, and comes back the same."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.config import validate
from syncflow.conversion.config import ConvertConfig
from syncflow.conversion.open_sora import export_to_open_sora, import_from_open_sora
from syncflow.errors import UserError
from syncflow.model.config import DualDiTConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.model.open_sora import import_video_tower, open_sora_tensors
from tests.precompute_case import write_weights
from tests.syncflow.training.small import SMALL


def settings(source: Path, output: Path, to: str) -> ConvertConfig:
    return validate(ConvertConfig, {"source": str(source), "output": output, "to": to}, source="test")


def test_a_checkpoints_video_tower_goes_out_and_stage_2_may_start_from_it(tmp_path: Path) -> None:
    model = DualDiT.random(
        validate(DualDiTConfig, SMALL["model"], source="test"), generator=torch.Generator().manual_seed(0)
    )
    model.save_pretrained(tmp_path / "checkpoint")
    folder = export_to_open_sora(settings(tmp_path / "checkpoint", tmp_path / "stdit3", "open_sora"))
    tower = import_video_tower(folder, tap="block", feature_tokens="frame", feature_grid=4)
    ours, theirs = open_sora_tensors(model.video_tower), open_sora_tensors(tower)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(UserError, match="exists; give another folder"):
        export_to_open_sora(settings(tmp_path / "checkpoint", tmp_path / "stdit3", "open_sora"))
    with pytest.raises(UserError, match="needs no import"):
        import_from_open_sora(settings(folder, tmp_path / "no", "syncflow"))


def test_a_video_vae_goes_out_and_comes_back(tmp_path: Path) -> None:
    write_weights(tmp_path)
    out = export_to_open_sora(settings(tmp_path / "video_vae", tmp_path / "released", "open_sora"))
    assert load_video_vae(str(out)).config["temporal_filters"] == 8
    back = import_from_open_sora(settings(out, tmp_path / "back", "syncflow"))
    first, last = (load_vae(VideoVAE, folder).state_dict() for folder in (tmp_path / "video_vae", back))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)
    assert (back / "diffusion_pytorch_model.safetensors").is_file()
    assert load_file(out / "model.safetensors").keys() != first.keys()


def test_what_is_neither_is_named(tmp_path: Path) -> None:
    write_weights(tmp_path)
    with pytest.raises(UserError, match="of AudioVAE; give the folder `checkpoint`"):
        export_to_open_sora(settings(tmp_path / "audio_vae", tmp_path / "out", "open_sora"))
    with pytest.raises(UserError, match=r"no readable config\.json"):
        export_to_open_sora(settings(tmp_path, tmp_path / "out", "open_sora"))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
