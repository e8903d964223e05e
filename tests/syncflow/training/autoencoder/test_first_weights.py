"""First weights of a video VAE: before any training it is a linear codec of pictures and of their changes."""

import pytest
import torch

from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.training.autoencoder.first_weights.video_vae import initialise_video_vae
from tests.syncflow.autoencoders.conftest import SMALL_VIDEO

ROOMY = SMALL_VIDEO.model_copy(
    update={"spatial_norm_groups": 1, "temporal_norm_groups": 1, "temporal_filters": 12}
)


@pytest.fixture(scope="module")
def new_vae() -> VideoVAE:
    vae = VideoVAE(**ROOMY.model_dump()).eval()
    initialise_video_vae(vae, torch.Generator().manual_seed(0))
    return vae


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    """Smooth pictures in colour: `b c f h w`."""
    coarse = 0.5 * torch.randn(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, size=(9, 32, 32), mode="trilinear").clamp(-1, 1)


def test_latents_of_both_parts_are_of_unit_size_and_far_above_their_noise(new_vae, video) -> None:
    frames = new_vae.encode_frames(video)
    posterior = new_vae.posterior_of_frames(frames)
    assert 0.2 < frames.std() / new_vae.spatial_scaling < 5.0
    assert 0.2 < posterior.mean.std() < 5.0
    assert posterior.mean.std() > 3 * torch.exp(0.5 * posterior.logvar).mean()


@torch.no_grad()
def test_an_untrained_vae_already_shows_a_still_picture(new_vae, video) -> None:
    """In all frames but the first, whose latent is the mean of it and of the zeros before it."""
    still = video[:, :, 4:5].expand(-1, -1, 9, -1, -1).contiguous()
    error = (new_vae(still)[0] - still)[:, :, 1:].square().mean()
    assert error < 0.15 * still.square().mean()


@torch.no_grad()
def test_the_2d_part_alone_shows_it_better(new_vae, video) -> None:
    made = new_vae.decode_frames(new_vae.encode_frames(video))
    assert (made - video).square().mean() < 0.2 * video.square().mean()


def test_colour_reaches_the_latent(new_vae, video) -> None:
    grey = video.mean(1, keepdim=True).expand_as(video).contiguous()
    frames, of_grey = new_vae.encode_frames(video), new_vae.encode_frames(grey)
    assert (frames - of_grey).std() > 0.2 * frames.std()


def test_the_picture_depends_on_the_latent(new_vae, video) -> None:
    made, _ = new_vae(video)
    of_other, _ = new_vae(video.flip(0))
    assert (made - of_other).std() > 0.2 * made.std()


@torch.no_grad()
def test_a_light_within_the_frames_of_one_latent_is_seen_at_its_own_frame() -> None:
    """Latent frame 1 covers frames 1 to 4; the mean over them would give each of these the same share."""
    settings = {"latent_channels": 8, "temporal_filters": 20, "shift": (0.0,) * 8, "scale": (1.0,) * 8}
    settings |= {"spatial_block_channels": (8, 16, 24, 24)}
    vae = VideoVAE(**ROOMY.model_copy(update=settings).model_dump()).eval()
    initialise_video_vae(vae, torch.Generator().manual_seed(0))
    for frame in (1, 2, 3, 4):
        lit = torch.full((1, 3, 9, 32, 32), -0.3)
        lit[:, :, frame] += 0.6
        brightness = vae(lit)[0].mean((0, 1, 3, 4))
        assert int(brightness[1:5].argmax()) + 1 == frame


def test_the_generator_decides(new_vae) -> None:
    again = VideoVAE(**ROOMY.model_dump())
    initialise_video_vae(again, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(new_vae.parameters(), again.parameters(), strict=True))
