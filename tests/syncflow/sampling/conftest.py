"""A whole pipeline of small random parts, of the real classes."""

from pathlib import Path

import pytest
import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.config import AudioVAEConfig, VideoVAEConfig
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.model.config import AdaptorConfig, AudioTowerConfig, DualDiTConfig, VideoTowerConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig

TEXT = TextConfig(location="", max_tokens=40, dtype="float32", width=32, layers=1, heads=2)


def tiny_dual_dit(context: str = "video") -> DualDiT:
    """Random weights everywhere: also those that start at zero, so that nothing is trivially equal."""
    config = DualDiTConfig(
        video=VideoTowerConfig(hidden_size=32, depth=2, num_heads=2, text_dim=32, max_text_tokens=40),
        audio=AudioTowerConfig(
            latent_dim=8,
            hidden_size=32,
            depth=2,
            num_heads=2,
            text_dim=32,
            max_text_tokens=40,
            context=context,  # type: ignore[arg-type]
        ),
        adaptor=AdaptorConfig(num_heads=2, tokens=2),
    )
    model = DualDiT(**config.model_dump())
    generator = torch.Generator().manual_seed(0)
    model.initialize(generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tiny_pipeline(context: str = "video", *, seed: int = 0) -> SyncFlowPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        video_vae = VideoVAE(
            **VideoVAEConfig(
                spatial_block_channels=(8, 8, 8, 8),
                spatial_layers_per_block=1,
                spatial_norm_groups=4,
                temporal_filters=8,
                temporal_multipliers=(1, 1, 1, 1),
                temporal_res_blocks=1,
                temporal_norm_groups=4,
            ).model_dump()
        ).eval()
        audio_vae = AudioVAE(
            **AudioVAEConfig(latent_dim=8, num_filters=2, hidden_size=8, num_lstm_layers=0).model_dump()
        ).eval()
        text = TextEncoder(TEXT)
        made = SyncFlowPipeline(
            dual_dit=tiny_dual_dit(context),
            video_vae=video_vae,
            audio_vae=audio_vae,
            text_encoder=text.model,
            tokenizer=text.tokenizer,
            height=32,
            width=32,
            num_frames=8,
            fps=16,
            max_text_tokens=TEXT.max_tokens,
        )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def pipeline() -> SyncFlowPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="session")
def text_to_audio() -> SyncFlowPipeline:
    return tiny_pipeline("text")


@pytest.fixture(scope="session")
def other_pipeline() -> SyncFlowPipeline:
    """Of the same shapes, with other weights."""
    return tiny_pipeline(seed=1)


@pytest.fixture(scope="session")
def text_config() -> TextConfig:
    return TEXT


@pytest.fixture(scope="session")
def saved(pipeline: SyncFlowPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the saved pipeline."""
    folder = tmp_path_factory.mktemp("saved")
    pipeline.save_pretrained(folder)
    return folder
