from pathlib import Path

import pytest
import torch
from transformers import ResNetBackbone, ResNetConfig

from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.training.autoencoder.objective import Segments, VideoObjective
from syncflow.training.autoencoder.perceptual import PerceptualDistance
from syncflow.training.autoencoder.run import build_engine, build_vae
from tests.autoencoder_case import SIZE, small_config


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet with random weights, saved as transformers saves it."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    ResNetBackbone(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(
        folder
    )
    return folder


def pictures(seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) - 1


def test_it_is_zero_for_equal_pictures_and_grows_with_what_is_changed(backbone: Path) -> None:
    distance, real = PerceptualDistance(backbone), pictures()
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    found = [distance(real + size * noise, real).item() for size in (0.0, 0.05, 0.3)]
    assert found[0] == 0 and 0 < found[1] < found[2]


def test_the_gradient_is_the_pictures_and_the_backbone_never_trains(backbone: Path) -> None:
    distance, made = PerceptualDistance(backbone).train(), pictures(1).requires_grad_()
    distance(made, pictures()).backward()
    assert made.grad is not None and made.grad.abs().sum() > 0
    assert not distance.backbone.training
    assert all(p.grad is None and not p.requires_grad for p in distance.parameters())


def test_a_video_vae_trains_by_it_and_its_state_holds_no_backbone(backbone: Path, tmp_path: Path) -> None:
    config = small_config("video", clips=tmp_path, output=tmp_path, video_objective={"perceptual": backbone})
    vae = build_vae(config)
    assert isinstance(vae, VideoVAE)
    batch = Segments(data=torch.rand(1, 3, 2, SIZE, SIZE) * 2 - 1, generator=torch.Generator(), part="frames")
    losses = VideoObjective(vae, config.video_objective)(batch)
    assert losses["loss"] > losses["perceptual"] * config.video_objective.perceptual_weight > 0
    engine = build_engine(vae, config)
    assert engine.step([batch], step=0)["perceptual"] > 0
    assert not any("backbone" in name for name, _ in engine.state())


def test_what_is_no_backbone_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no backbone of transformers"):
        PerceptualDistance(tmp_path)
