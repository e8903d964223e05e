import torch

from syncflow.flow.path import interpolate, sample_path
from syncflow.records import AVLatents


def pair(seed: int) -> AVLatents:
    generator = torch.Generator().manual_seed(seed)
    return AVLatents(
        video=torch.randn(3, 4, 2, 5, 6, generator=generator), audio=torch.randn(3, 7, 8, generator=generator)
    )


def test_the_path_starts_at_noise_and_ends_at_data_exactly() -> None:
    noise, data = pair(0), pair(1)
    start, end = (interpolate(noise, data, torch.full((3,), t)) for t in (0.0, 1.0))
    assert torch.equal(start.video, noise.video) and torch.equal(start.audio, noise.audio)
    assert torch.equal(end.video, data.video) and torch.equal(end.audio, data.audio)


def test_the_velocity_is_the_derivative_of_the_path() -> None:
    noise, data, h = pair(0), pair(1), 1e-2
    t = torch.tensor([0.1, 0.5, 0.9])
    sample = sample_path(data, noise, t)
    later = interpolate(noise, data, t + h)
    torch.testing.assert_close((later.video - sample.x_t.video) / h, sample.velocity.video, atol=1e-3, rtol=0)
    torch.testing.assert_close((later.audio - sample.x_t.audio) / h, sample.velocity.audio, atol=1e-3, rtol=0)


def test_each_sample_has_one_time_for_both_modalities() -> None:
    sample = sample_path(pair(1), pair(0), torch.tensor([0.0, 1.0, 0.5]))
    assert torch.equal(sample.x_t.video[0], pair(0).video[0])
    assert torch.equal(sample.x_t.audio[1], pair(1).audio[1])


def test_an_absent_modality_stays_absent() -> None:
    noise, data = AVLatents(video=pair(0).video, audio=None), AVLatents(video=pair(1).video, audio=None)
    sample = sample_path(data, noise, torch.rand(3))
    assert sample.x_t.audio is None and sample.velocity.audio is None


def test_several_draws_share_the_data_and_the_time_of_their_sample() -> None:
    data, t = pair(1), torch.tensor([0.0, 0.3, 1.0])
    draws = [pair(seed).audio for seed in (2, 3)]
    sound = AVLatents(video=None, audio=data.audio)
    both = torch.stack(draws, dim=1).flatten(0, 1)
    sample = sample_path(data, AVLatents(video=pair(0).video, audio=both), t)
    for k, noise in enumerate(draws):
        alone = sample_path(sound, AVLatents(video=None, audio=noise), t)
        assert torch.equal(sample.x_t.audio[k::2], alone.x_t.audio)
        assert torch.equal(sample.velocity.audio[k::2], alone.velocity.audio)


def test_a_picture_ahead_of_its_sound_is_at_its_own_time_and_has_the_same_velocity() -> None:
    t, ahead = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.1, 0.7, 1.0])
    both, own = sample_path(pair(1), pair(0), t), sample_path(pair(1), pair(0), t, ahead)
    assert torch.equal(own.x_t.audio, both.x_t.audio) and torch.equal(own.t, t)
    assert torch.equal(own.x_t.video, sample_path(pair(1), pair(0), ahead).x_t.video)
    assert torch.equal(own.video_t, ahead) and torch.equal(own.velocity.video, both.velocity.video)
