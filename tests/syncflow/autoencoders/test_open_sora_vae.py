import copy
import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.autoencoders.config import VideoVAEConfig
from syncflow.autoencoders.open_sora_vae import (
    config_from_open_sora,
    config_to_open_sora,
    export_weights,
    import_weights,
    load_open_sora_vae,
    save_open_sora_vae,
)
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256


@pytest.fixture(scope="module")
def golden(shared: Path) -> tuple[VideoVAE, dict[str, torch.Tensor]]:
    folder = shared / "golden" / "vae_a"
    return load_open_sora_vae(folder), load_file(folder / "io.safetensors")


@torch.no_grad()
def test_moments_are_those_of_the_original(golden):
    vae, reference = golden
    assert (vae.encode(reference["video"]).mean - reference["latent_mean"]).abs().max() <= 1e-4
    assert (vae.posterior(reference["video"]).logvar - reference["temporal_logvar"]).abs().max() <= 1e-4


@torch.no_grad()
def test_the_reconstruction_is_that_of_the_original(golden):
    vae, reference = golden
    decoded = vae.decode(reference["latent_mean"], num_frames=32)
    assert (decoded - reference["reconstruction"]).abs().max() <= 1e-4


def test_the_517_names_and_shapes_of_the_published_weights(golden_files: Path):
    with torch.device("meta"):
        vae = VideoVAE(**VideoVAEConfig().model_dump())
    published = json.loads(gzip.decompress((golden_files / "keys/OpenSora-VAE-v1.2.json.gz").read_bytes()))
    assert {name: list(tensor.shape) for name, tensor in export_weights(vae).items()} == published
    assert len(published) == 517
    assert sum(tensor.numel() for tensor in vae.state_dict().values()) == 393_341_015


def test_the_published_config_means_our_defaults():
    published = {
        "model_type": "VideoAutoencoderPipeline",
        "micro_frame_size": 17,
        "scale": [3.85, 2.32, 2.33, 3.06],
        "shift": [-0.1, 0.34, 0.27, 0.98],
        "vae_2d": {"type": "VideoAutoencoderKL", "micro_batch_size": 4, "subfolder": "vae"},
        "vae_temporal": {"type": "VAE_Temporal_SD", "from_pretrained": None},
    }
    assert config_from_open_sora(published) == VideoVAEConfig()
    assert config_from_open_sora(config_to_open_sora(VideoVAEConfig())) == VideoVAEConfig()


def test_a_vae_goes_out_and_comes_back_bit_exact(video_vae: VideoVAE, tmp_path: Path):
    save_open_sora_vae(video_vae, tmp_path)
    back = load_open_sora_vae(tmp_path)
    assert tensors_sha256(back.state_dict()) == tensors_sha256(video_vae.state_dict())


def test_every_missing_extra_and_misshapen_name_is_told(video_vae: VideoVAE):
    tensors = export_weights(video_vae)
    del tensors["temporal_vae.quant_conv.conv.bias"], tensors["scale"]
    tensors["ema.decay"] = torch.zeros(1)
    tensors["temporal_vae.encoder.norm1.bias"] = torch.zeros(7)
    with pytest.raises(UserError) as caught:
        import_weights(video_vae, tensors)
    told = str(caught.value)
    assert "2 missing: scale, temporal_vae.quant_conv.conv.bias" in told
    assert "1 extra: ema.decay" in told
    assert "1 misshapen: temporal_vae.encoder.norm1.bias [7] not [32]" in told


def test_a_vae_of_another_version_is_refused():
    with pytest.raises(UserError, match="'VAE_Temporal_XL', expected 'VAE_Temporal_SD'"):
        config_from_open_sora({"vae_temporal": {"type": "VAE_Temporal_XL"}})


def test_a_truncated_file_is_refused(video_vae: VideoVAE, tmp_path: Path):
    save_open_sora_vae(video_vae, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        load_open_sora_vae(tmp_path)


def test_exported_settings_carry_the_statistics_of_the_weights(video_vae: VideoVAE, tmp_path: Path):
    vae = copy.deepcopy(video_vae)
    vae.set_statistics(mean=torch.arange(4.0), std=torch.arange(1.0, 5.0))
    save_open_sora_vae(vae, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["shift"] == [0.0, 1.0, 2.0, 3.0] and values["scale"] == [1.0, 2.0, 3.0, 4.0]


def test_a_scaling_that_the_format_cannot_state_is_refused():
    with pytest.raises(UserError, match=r"fixes it at 0.18215"):
        config_to_open_sora(VideoVAEConfig(spatial_scaling=1.0))


def test_a_setting_of_the_wrong_type_is_told_in_one_line():
    with pytest.raises(UserError, match="Open-Sora VAE config: key 'temporal_filters'"):
        config_from_open_sora({"temporal_vae_config": {"filters": "many"}})
