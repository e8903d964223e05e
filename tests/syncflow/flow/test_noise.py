import torch

from syncflow.flow.noise import keyed_noise, keyed_uniform
from syncflow.records import AVLatents


def like(batch: int, *, audio_length: int = 10, video: bool = True) -> AVLatents:
    return AVLatents(
        video=torch.empty(batch, 4, 3, 8, 8) if video else None, audio=torch.empty(batch, audio_length, 6)
    )


def test_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    together = keyed_noise(like(4), seed=7, step=3, index=torch.tensor([5, 9, 2, 11]))
    alone = keyed_noise(like(1), seed=7, step=3, index=[2])
    assert torch.equal(together.video[2], alone.video[0])
    assert torch.equal(together.audio[2], alone.audio[0])


def test_noise_changes_with_seed_step_index_and_modality() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    draws = [keyed_noise(like(1), seed=s, step=k, index=[i]).audio for s, k, i in keys]
    for one in range(4):
        for other in range(one):
            assert not torch.equal(draws[one], draws[other])
    noise = keyed_noise(like(1, audio_length=128), seed=0, index=[0])
    assert not torch.equal(noise.video.flatten()[:768], noise.audio.flatten()[:768])


def test_video_noise_does_not_depend_on_the_audio() -> None:
    short, long = (keyed_noise(like(2, audio_length=n), seed=1, index=[0, 1]) for n in (10, 77))
    assert torch.equal(short.video, long.video)
    assert torch.equal(keyed_noise(like(2, video=False), seed=1, index=[0, 1]).audio, short.audio)


def test_noise_is_standard_normal_and_times_are_uniform() -> None:
    noise = keyed_noise(like(64), seed=0, index=range(64)).video
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    t = keyed_uniform(stream="time", seed=0, index=range(2000))
    assert float(t.min()) >= 0 and float(t.max()) < 1
    assert abs(float(t.mean()) - 0.5) < 0.02 and abs(float(t.var()) - 1 / 12) < 0.005


def test_noise_takes_the_dtype_of_the_latents() -> None:
    low = AVLatents(video=None, audio=torch.empty(1, 4, 6, dtype=torch.bfloat16))
    assert keyed_noise(low, seed=0, index=[0]).audio.dtype == torch.bfloat16


def test_further_audio_draws_leave_the_first_and_the_video_as_they_are() -> None:
    one, three = (keyed_noise(like(2), seed=1, index=[4, 9], audio_draws=k) for k in (1, 3))
    rows = three.audio.unflatten(0, (2, 3))
    assert torch.equal(three.video, one.video) and torch.equal(rows[:, 0], one.audio)
    alone = keyed_noise(like(1), seed=1, index=[9], audio_draws=3)
    assert torch.equal(rows[1], alone.audio)
    assert len({row.sum().item() for row in three.audio}) == 6
