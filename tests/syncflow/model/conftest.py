"""Small models with every number random (a new model's zeros would make the laws hold for nothing)."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from syncflow.autoencoders.spans import frame_spans, frame_times
from syncflow.model.config import AdaptorConfig, AudioTowerConfig, DualDiTConfig, VideoTowerConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.records import AVLatents, TextBatch

TIMES = frame_times(frame_spans(32, frames_per_chunk=17, stride=4), fps=16)
SIZE = {"fps": 16.0, "height": 64, "width": 64}


def settings(
    *, video: dict | None = None, audio: dict | None = None, adaptor: str = "attention", tokens: int = 1
) -> DualDiTConfig:
    return DualDiTConfig(
        video=VideoTowerConfig(
            **{"hidden_size": 32, "depth": 2, "num_heads": 4, "text_dim": 16, "max_text_tokens": 12}
            | (video or {})
        ),
        audio=AudioTowerConfig(
            **{"latent_dim": 6, "hidden_size": 32, "depth": 2, "num_heads": 4}
            | {"text_dim": 16, "max_text_tokens": 12}
            | (audio or {})
        ),
        adaptor=AdaptorConfig(kind=adaptor, num_heads=4, tokens=tokens),
    )


def randomise(module: nn.Module, *, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2, generator=generator)


def build(config: DualDiTConfig, *, seed: int = 0) -> DualDiT:
    model = DualDiT(**config.model_dump()).eval()
    randomise(model, seed=seed)
    return model


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompts(batch: int = 2, *, length: int = 7, seed: int = 0) -> TextBatch:
    mask = torch.arange(length) < torch.tensor([length - 2 * (row % 3) for row in range(batch)])[:, None]
    return TextBatch(
        tokens=normal(batch, length, 16, seed=seed), mask=mask, dropped=torch.zeros(batch, dtype=torch.bool)
    )


def latents(batch: int = 2, *, seed: int = 0) -> AVLatents:
    return AVLatents(video=normal(batch, 4, 9, 8, 8, seed=seed), audio=normal(batch, 20, 6, seed=seed + 1))


@pytest.fixture
def tools() -> SimpleNamespace:
    """The functions above, for tests."""
    return SimpleNamespace(
        settings=settings,
        build=build,
        randomise=randomise,
        normal=normal,
        prompts=prompts,
        latents=latents,
        size=SIZE,
        times=TIMES,
        clip=SIZE | {"frame_times": TIMES},
    )


@pytest.fixture
def model(tools: SimpleNamespace) -> DualDiT:
    return build(settings())


@pytest.fixture
def same() -> Callable[..., None]:
    """Equal up to float32 rounding."""

    def check(actual: Tensor, expected: Tensor, *, tolerance: float = 2e-5) -> None:
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)

    return check
