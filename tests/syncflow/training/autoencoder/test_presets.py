"""The shipped autoencoder presets: they are valid, and say what they claim."""

import json
from pathlib import Path

import pytest
import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.config import AudioVAEConfig
from syncflow.config import load_config
from syncflow.model.config import InspectConfig
from syncflow.training.autoencoder.config import AudioObjectiveConfig, AutoencoderTrainConfig
from syncflow.training.autoencoder.objective import AudioObjective, Segments

PRESETS = [f"{size}/{kind}_vae.yaml" for size in ("tiny", "vggsound") for kind in ("audio", "video")]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_of_their_kind(preset: str, repository: Path) -> None:
    config = load_config(AutoencoderTrainConfig, repository / "pipelines/configs" / preset)
    assert preset.endswith(f"{config.kind}_vae.yaml")
    assert config.optimizer.decay == "cosine" and config.optimizer.weight_decay == 0.0


def test_the_tiny_latents_are_those_of_the_tiny_models(repository: Path) -> None:
    folder = repository / "pipelines/configs/tiny"
    audio, video = (load_config(AutoencoderTrainConfig, folder / f"{k}_vae.yaml") for k in ("audio", "video"))
    model = load_config(InspectConfig, folder / "inspect.yaml").model
    assert audio.audio.latent_dim == model.audio.latent_dim
    assert video.video.latent_channels == model.video.in_channels


def test_the_shipped_tiny_video_vae_keeps_the_instants_of_strokes(repository: Path) -> None:
    """Its own figures, as `train_autoencoder.py` wrote them: PSNR alone did not see that they were lost."""
    shipped = repository / "pipelines/configs/tiny/weights/video_vae/reconstruction.json"
    figures = json.loads(shipped.read_text(encoding="utf-8"))
    assert figures["motion_f1"] > 0.7 and figures["psnr_db"] > 28


def test_the_large_audio_vae_is_the_papers(repository: Path) -> None:
    config = load_config(AutoencoderTrainConfig, repository / "pipelines/configs/vggsound/audio_vae.yaml")
    assert config.audio.latent_dim == 128 and config.adversarial.enabled
    assert config.audio_objective.segment_samples == config.audio.sample_rate  # 1 s


def test_the_audio_loss_is_the_sum_of_its_parts_by_these_weights() -> None:
    sizes = AudioVAEConfig(latent_dim=4, num_filters=2, hidden_size=8, num_lstm_layers=0)
    objective = AudioObjective(AudioVAE(**sizes.model_dump()), AudioObjectiveConfig())
    sound = 0.1 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    found = objective(Segments(data=sound, generator=torch.Generator().manual_seed(1)))
    shares = {"l1": 20.0, "mse": 200.0, "mel": 2.0, "kl": 1e-4}
    total = sum(share * found[name].item() for name, share in shares.items())
    assert found["loss"].item() == pytest.approx(total, rel=1e-5)
