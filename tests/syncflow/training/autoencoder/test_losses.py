"""The multi-scale mel distance on sounds whose distances are known."""

import math

import pytest
import torch

from syncflow.training.autoencoder.losses import MelScale, MultiScaleMelLoss, mel_filters

RATE = 48_000


@pytest.fixture(scope="module")
def loss() -> MultiScaleMelLoss:
    return MultiScaleMelLoss(sample_rate=RATE)


def tone(hz: float, *, level: float = 1.0, samples: int = 9600) -> torch.Tensor:
    return level * torch.sin(torch.arange(samples) * (2 * math.pi * hz / RATE))[None]


def click(at: int) -> torch.Tensor:
    sound = torch.zeros(1, 9600)
    sound[0, at : at + 480] = tone(3000.0, samples=480)[0] * torch.exp(-torch.arange(480) / 100.0)
    return sound


def test_filters_rise_and_fall_to_one_and_overlap_their_neighbours() -> None:
    filters = mel_filters(40, n_fft=2048, sample_rate=RATE)
    assert filters.shape == (40, 1025) and filters.min() == 0 and filters.max() <= 1.0
    inside = filters.sum(0)[(filters.argmax(1)[0]) : (filters.argmax(1)[-1])]
    assert torch.allclose(inside, torch.ones_like(inside), atol=1e-4)  # triangles add up to one


def test_peaks_are_evenly_spaced_in_mel() -> None:
    peaks = mel_filters(20, n_fft=8192, sample_rate=RATE).argmax(1) * RATE / 8192
    mel = 2595 * torch.log10(1 + peaks / 700)
    assert torch.allclose(mel.diff(), mel.diff().mean().expand(19), rtol=0.05)


def test_a_full_scale_tone_has_magnitude_about_one() -> None:
    found = MelScale(n_fft=2048, num_mels=80, sample_rate=RATE)(tone(2000.0))[..., 5:-5].amax()
    assert 0.5 < found < 1.6


def test_the_distance_to_itself_is_zero(loss: MultiScaleMelLoss) -> None:
    assert loss(tone(440.0), tone(440.0)) == 0


def test_later_attacks_are_farther(loss: MultiScaleMelLoss) -> None:
    distances = [float(loss(click(2000 + late), click(2000))) for late in (0, 48, 240, 480)]
    assert distances == sorted(distances) and distances[1] > 0


def test_a_smeared_attack_is_farther_than_a_softer_one(loss: MultiScaleMelLoss) -> None:
    smeared = torch.nn.functional.avg_pool1d(click(2000)[:, None], 481, stride=1, padding=240)[:, 0]
    assert loss(smeared, click(2000)) > loss(0.9 * click(2000), click(2000))


def test_what_is_under_the_floor_hardly_counts(loss: MultiScaleMelLoss) -> None:
    noise = torch.randn(2, 1, 9600, generator=torch.Generator().manual_seed(0))
    assert loss(1e-4 * noise[0], 1e-4 * noise[1]) < 0.02 * loss(0.3 * noise[0], 0.003 * noise[1])


def test_silence_has_a_finite_gradient(loss: MultiScaleMelLoss) -> None:
    silence = torch.zeros(1, 4800, requires_grad=True)
    loss(silence, tone(440.0, samples=4800)).backward()
    assert silence.grad is not None and silence.grad.isfinite().all()
