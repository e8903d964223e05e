"""Small random autoencoders: big enough for every law but the quality of sound and picture."""

import pytest
import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.config import AudioVAEConfig, VideoVAEConfig
from syncflow.autoencoders.video_vae import VideoVAE

SMALL_AUDIO = AudioVAEConfig(latent_dim=8, num_filters=4, hidden_size=16, num_lstm_layers=1)
SMALL_VIDEO = VideoVAEConfig(
    spatial_block_channels=(8, 8, 16, 16),
    spatial_layers_per_block=1,
    spatial_norm_groups=4,
    temporal_filters=8,
    temporal_res_blocks=1,
    temporal_norm_groups=4,
)


@pytest.fixture(scope="module")
def audio_vae() -> AudioVAE:
    torch.manual_seed(0)
    vae = AudioVAE(**SMALL_AUDIO.model_dump()).eval()
    vae.set_statistics(mean=torch.linspace(-1.0, 1.0, 8), std=torch.linspace(0.5, 2.0, 8))
    return vae


@pytest.fixture(scope="module")
def video_vae() -> VideoVAE:
    torch.manual_seed(0)
    return VideoVAE(**SMALL_VIDEO.model_dump()).eval()
