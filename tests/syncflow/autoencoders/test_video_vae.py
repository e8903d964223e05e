import copy
from pathlib import Path

import pytest
import torch

from syncflow.autoencoders.loading import load_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.records import ClipSpec


def video(num_frames: int, *, batch: int = 1, side: int = 16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.rand(batch, 3, num_frames, side, side, generator=generator) - 1.0


@pytest.mark.parametrize(("num_frames", "latent_frames"), [(32, 9), (34, 10), (1, 1)])
def test_the_vae_itself_says_how_many_latent_frames(video_vae: VideoVAE, num_frames: int, latent_frames: int):
    spec = ClipSpec(seconds=num_frames / 16)
    assert video_vae.latent_shape(spec) == (4, latent_frames, 32, 32)
    assert len(video_vae.frame_spans(num_frames)) == latent_frames


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 16, 17, 18, 21, 32, 34, 35])
@torch.no_grad()
def test_as_many_frames_come_out_as_went_in(video_vae: VideoVAE, num_frames: int):
    moments = video_vae.encode(video(num_frames))
    assert moments.mean.shape == (1, 4, len(video_vae.frame_spans(num_frames)), 2, 2)
    decoded = video_vae.decode(moments.mode, num_frames=num_frames)
    assert decoded.shape == (1, 3, num_frames, 16, 16) and decoded.isfinite().all()


@torch.no_grad()
def test_frames_of_another_chunk_do_not_touch_a_latent(video_vae: VideoVAE):
    clip = video(32)
    changed = clip.clone()
    changed[:, :, 17:] = 0.0
    before, after = video_vae.encode(clip).mean, video_vae.encode(changed).mean
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert not torch.equal(before[:, :, 5:], after[:, :, 5:])


@torch.no_grad()
def test_slices_of_frames_do_not_change_the_result(video_vae: VideoVAE):
    clip = video(20, batch=2)
    results = []
    for frames_per_batch in (1, 7, 64):
        vae = copy.deepcopy(video_vae)
        vae.frames_per_batch = frames_per_batch
        results.append(vae(clip)[0])
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert torch.allclose(results[0], results[2], atol=1e-5)


@torch.no_grad()
def test_a_video_does_not_depend_on_the_others_of_its_batch(video_vae: VideoVAE):
    batch = video(6, batch=2)
    alone = torch.cat([video_vae.encode(one[None]).mean for one in batch])
    assert torch.allclose(video_vae.encode(batch).mean, alone, atol=1e-5)


@torch.no_grad()
def test_encoding_is_deterministic_and_draws_follow_the_generator(video_vae: VideoVAE):
    first, second = (video_vae.encode(video(8)) for _ in range(2))
    assert torch.equal(first.mean, second.mean) and torch.equal(first.logvar, second.logvar)
    assert torch.equal(*[one.sample(torch.Generator().manual_seed(3)) for one in (first, second)])


@torch.no_grad()
def test_latents_of_set_statistics_have_mean_zero_and_deviation_one(video_vae: VideoVAE):
    vae = copy.deepcopy(video_vae)
    clip = video(32, batch=2)
    raw = vae.posterior(clip).mode.transpose(0, 1).flatten(1)
    vae.set_statistics(mean=raw.mean(1), std=raw.std(1))
    normalised = vae.encode(clip).mode.transpose(0, 1).flatten(1)
    assert torch.allclose(normalised.mean(1), torch.zeros(4), atol=1e-4)
    assert torch.allclose(normalised.std(1), torch.ones(4), atol=1e-4)
    assert torch.allclose(vae.decode(vae.encode(clip).mode, num_frames=32), vae(clip)[0], atol=1e-4)


def test_saved_and_loaded_weights_are_bit_exact(video_vae: VideoVAE, tmp_path: Path):
    video_vae.save_pretrained(tmp_path)
    loaded = load_vae(VideoVAE, tmp_path)
    assert tensors_sha256(loaded.state_dict()) == tensors_sha256(video_vae.state_dict())
    with torch.no_grad():
        assert torch.equal(loaded.encode(video(5)).mean, video_vae.encode(video(5)).mean)


def test_the_gradient_of_a_training_step_reaches_every_weight(video_vae: VideoVAE):
    vae = copy.deepcopy(video_vae)
    reconstruction, posterior = vae(video(18), torch.Generator().manual_seed(0))
    (reconstruction.abs().mean() + posterior.kl().mean()).backward()
    assert [name for name, weight in vae.named_parameters() if weight.grad is None] == []


@torch.no_grad()
def test_bfloat16_latents_are_within_a_twentieth_of_a_deviation(video_vae: VideoVAE):
    half = copy.deepcopy(video_vae).to(torch.bfloat16)
    ours, exact = half.encode(video(32)), video_vae.encode(video(32))
    assert ours.mean.dtype == torch.float32
    assert (ours.mean - exact.mean).abs().max() < 0.05
    assert (ours.logvar - exact.logvar).abs().max() < 0.05


@pytest.mark.parametrize(
    ("clip", "told"),
    [
        (torch.zeros(1, 1, 4, 16, 16), "expected .batch, 3"),
        (torch.zeros(1, 3, 16, 16), "expected .batch, 3"),
        (torch.zeros(1, 3, 0, 16, 16), "frames >= 1"),
        (torch.zeros(1, 3, 4, 16, 20), "16 x 20 pixels: expected multiples of 8"),
        (torch.full((1, 3, 4, 16, 16), float("nan")), "NaN"),
    ],
)
def test_video_that_cannot_be_encoded_is_refused(video_vae: VideoVAE, clip: torch.Tensor, told: str):
    with pytest.raises(UserError, match=told):
        video_vae.encode(clip)


def test_latents_that_do_not_fit_the_frames_are_refused(video_vae: VideoVAE):
    with pytest.raises(UserError, match=r"expected \[batch, 4, 9, .*32 frames"):
        video_vae.decode(torch.zeros(1, 4, 8, 2, 2), num_frames=32)
    with pytest.raises(UserError, match="0 frames"):
        video_vae.decode(torch.zeros(1, 4, 8, 2, 2), num_frames=0)


def test_a_truncated_file_is_refused_in_one_line(video_vae: VideoVAE, tmp_path: Path):
    video_vae.save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read") as caught:
        load_vae(VideoVAE, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_folder_of_another_class_or_none_is_refused(audio_vae, tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        load_vae(VideoVAE, tmp_path / "nowhere")
    audio_vae.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a AudioVAE"):
        load_vae(VideoVAE, tmp_path)


@torch.no_grad()
def test_padding_with_the_first_frame_makes_a_still_clip_the_same_in_every_latent_frame(video_vae: VideoVAE):
    """What stands before the first frame is then no other thing than what follows; with zeros it is."""
    still = video(1).expand(-1, -1, 32, -1, -1)
    spread = {}
    for padding in ("zeros", "first"):
        vae = VideoVAE(**{**video_vae.config, "frames_per_chunk": 32, "time_padding": padding})
        vae.load_state_dict(video_vae.state_dict())
        latents = vae.encode(still).mean
        spread[padding] = float((latents - latents[:, :, -1:]).abs().max() / latents.std())
        assert vae.decode(latents, num_frames=32).shape[2] == 32
    assert spread["first"] < 1e-3 < 0.1 < spread["zeros"]


def test_a_saved_config_without_padding_is_open_soras(video_vae: VideoVAE):
    config = {name: value for name, value in video_vae.config.items() if name != "time_padding"}
    assert VideoVAE(**config).temporal.time_padding == "zeros"
