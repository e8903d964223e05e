import copy
from pathlib import Path

import pytest
import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.config import AudioVAEConfig
from syncflow.autoencoders.loading import load_vae
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.records import ClipSpec


def sound(num_samples: int, *, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(batch, num_samples, generator=generator)


def test_two_seconds_are_exactly_one_hundred_latents(audio_vae: AudioVAE):
    assert audio_vae.latent_shape(ClipSpec()) == (100, 8)
    with torch.no_grad():
        assert audio_vae.encode(sound(96_000)).mean.shape == (1, 100, 8)


def test_the_large_models_latent_is_that_of_the_paper():
    with torch.device("meta"):
        vae = AudioVAE(**AudioVAEConfig().model_dump())
    assert vae.hop == 960 and vae.latent_shape(ClipSpec()) == (100, 128)


@pytest.mark.parametrize("num_samples", [1, 2, 959, 960, 961, 1919, 1921, 47_999, 48_000])
@torch.no_grad()
def test_as_many_samples_come_out_as_went_in(audio_vae: AudioVAE, num_samples: int):
    moments = audio_vae.encode(sound(num_samples, batch=2))
    assert moments.mean.shape == (2, -(-num_samples // 960), 8)
    decoded = audio_vae.decode(moments.mode, num_samples=num_samples)
    assert decoded.shape == (2, num_samples) and decoded.isfinite().all()


@torch.no_grad()
def test_encoding_is_deterministic_and_draws_follow_the_generator(audio_vae: AudioVAE):
    first, second = (audio_vae.encode(sound(9_600)) for _ in range(2))
    assert torch.equal(first.mean, second.mean) and torch.equal(first.logvar, second.logvar)
    draws = [moments.sample(torch.Generator().manual_seed(3)) for moments in (first, second)]
    assert torch.equal(*draws)


@torch.no_grad()
def test_a_sample_does_not_depend_on_the_others_of_its_batch(audio_vae: AudioVAE):
    batch = sound(4_800, batch=3)
    alone = torch.cat([audio_vae.encode(row[None]).mean for row in batch])
    assert torch.allclose(audio_vae.encode(batch).mean, alone, atol=1e-5)


@torch.no_grad()
def test_without_lstm_a_click_moves_only_the_latents_near_it():
    torch.manual_seed(0)
    config = AudioVAEConfig(latent_dim=8, num_filters=4, hidden_size=16, num_lstm_layers=0)
    vae = AudioVAE(**config.model_dump()).eval()
    silence = torch.zeros(1, 48_000)
    click = silence.clone()
    click[0, 24_480] = 1.0  # the middle of latent 25 of 50
    moved = (vae.encode(click).mean - vae.encode(silence).mean).abs().amax((0, 2))
    near = moved.nonzero().flatten()
    assert near.min() >= 25 - 4 and near.max() <= 25 + 4
    assert abs(int(moved.argmax()) - 25) <= 3


@torch.no_grad()
def test_latents_of_set_statistics_have_mean_zero_and_deviation_one(audio_vae: AudioVAE):
    vae = copy.deepcopy(audio_vae)
    audio = sound(96_000, batch=2)
    raw = vae.posterior(audio).mode.flatten(0, 1)
    vae.set_statistics(mean=raw.mean(0), std=raw.std(0))
    normalised = vae.encode(audio).mode.flatten(0, 1)
    assert torch.allclose(normalised.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(normalised.std(0), torch.ones(8), atol=1e-4)


@torch.no_grad()
def test_normalising_does_not_change_the_reconstruction(audio_vae: AudioVAE):
    audio = sound(9_600)
    moments = audio_vae.encode(audio)
    decoded = audio_vae.decode(moments.mode, num_samples=9_600)
    vae = copy.deepcopy(audio_vae)
    vae.set_statistics(mean=torch.zeros(8), std=torch.ones(8))
    assert torch.allclose(decoded, vae(audio)[0], atol=1e-5)


@pytest.mark.parametrize("norm_type", ["weight_norm", "time_group_norm"])
def test_saved_and_loaded_weights_are_bit_exact(norm_type: str, tmp_path: Path):
    config = AudioVAEConfig(latent_dim=8, num_filters=4, hidden_size=16, norm_type=norm_type)  # type: ignore
    vae = AudioVAE(**config.model_dump())
    vae.set_statistics(mean=torch.ones(8), std=torch.full((8,), 2.0))
    vae.save_pretrained(tmp_path)
    loaded = load_vae(AudioVAE, tmp_path)
    assert tensors_sha256(loaded.state_dict()) == tensors_sha256(vae.state_dict())
    assert AudioVAEConfig(**{name: loaded.config[name] for name in AudioVAEConfig.model_fields}) == config


def test_the_gradient_of_a_training_step_reaches_every_weight(audio_vae: AudioVAE):
    vae = copy.deepcopy(audio_vae)
    reconstruction, posterior = vae(sound(9_600), torch.Generator().manual_seed(0))
    (reconstruction.abs().mean() + posterior.kl().mean()).backward()
    without = [name for name, weight in vae.named_parameters() if weight.grad is None]
    assert without == []


@torch.no_grad()
def test_bfloat16_latents_are_within_a_twentieth_of_a_deviation(audio_vae: AudioVAE):
    half = copy.deepcopy(audio_vae).to(torch.bfloat16)
    ours, exact = half.encode(sound(48_000)), audio_vae.encode(sound(48_000))
    assert ours.mean.dtype == torch.float32
    assert (ours.mean - exact.mean).abs().max() < 0.05
    assert (ours.logvar - exact.logvar).abs().max() < 0.05


@torch.no_grad()
def test_silence_is_finite_both_ways(audio_vae: AudioVAE):
    moments = audio_vae.encode(torch.zeros(1, 48_000))
    assert moments.mean.isfinite().all() and moments.logvar.isfinite().all()
    assert audio_vae.decode(moments.mode, num_samples=48_000).isfinite().all()


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        (torch.zeros(1, 2, 960), "average the channels of stereo"),
        (torch.zeros(960), "expected mono"),
        (torch.zeros(1, 0), "one sample or more"),
        (torch.full((1, 960), float("nan")), "NaN"),
        (torch.full((1, 960), float("inf")), "infinite"),
    ],
)
def test_sound_that_cannot_be_encoded_is_refused(audio_vae: AudioVAE, audio: torch.Tensor, told: str):
    with pytest.raises(UserError, match=told):
        audio_vae.encode(audio)


def test_another_sample_rate_is_refused_with_the_remedy(audio_vae: AudioVAE):
    with pytest.raises(UserError, match=r"44100 Hz.*48000; resample"):
        audio_vae.encode(sound(960), sample_rate=44_100)
    with pytest.raises(UserError, match="16000 Hz"):
        audio_vae.latent_shape(ClipSpec(sample_rate=16_000))


@pytest.mark.parametrize(
    ("shape", "num_samples"), [((1, 3, 8), 960), ((1, 1, 7), 960), ((1, 8), 960), ((1, 0, 8), 0)]
)
def test_latents_that_do_not_fit_the_samples_are_refused(
    audio_vae: AudioVAE, shape: tuple[int, ...], num_samples: int
):
    with pytest.raises(UserError, match="audio latents"):
        audio_vae.decode(torch.zeros(shape), num_samples=num_samples)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (torch.zeros(7), torch.ones(8)),
        (torch.zeros(8), torch.zeros(8)),
        (torch.full((8,), torch.nan), torch.ones(8)),
    ],
)
def test_statistics_that_cannot_normalise_are_refused(
    audio_vae: AudioVAE, mean: torch.Tensor, std: torch.Tensor
):
    with pytest.raises(UserError, match="audio latent statistics"):
        audio_vae.set_statistics(mean=mean, std=std)


def test_a_new_vae_passes_on_what_it_hears():
    """Else training settles where the decoder ignores the latent: what is heard must outweigh what is not."""
    torch.manual_seed(0)
    tiny = AudioVAEConfig(
        latent_dim=32, num_filters=10, hidden_size=32, num_lstm_layers=0, pad_mode="constant"
    )
    vae = AudioVAE(**tiny.model_dump())
    heard = 0.1 * torch.randn(4, 9_600, generator=torch.Generator().manual_seed(1))
    moments = vae.posterior(heard)
    made = vae.decode(moments.mode, num_samples=9_600)
    of_others = vae.decode(moments.mode.roll(1, 0), num_samples=9_600)
    assert moments.mean.std() > 2 * torch.exp(0.5 * moments.logvar).mean()
    assert (made - of_others).std() > 0.5 * made.std() and 0.02 < made.std() < 0.5
