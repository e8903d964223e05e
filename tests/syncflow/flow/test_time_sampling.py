import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from syncflow.flow.config import TimeConfig
from syncflow.flow.time_sampling import sample_times, shift_ratio, shift_times, video_times


def test_the_papers_times_are_the_uniform_draws_themselves() -> None:
    draws = torch.rand(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample_times(draws, config=TimeConfig(), ratio=3.0), draws)


def test_logit_normal_times_have_a_normal_logit() -> None:
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    t = sample_times(grid, config=TimeConfig(distribution="logit_normal", logit_mean=0.3, logit_std=0.7))
    assert abs(float(torch.logit(t).mean()) - 0.3) < 1e-3 and abs(float(torch.logit(t).std()) - 0.7) < 1e-2


def test_logit_normal_times_are_finite_and_inside_at_the_ends() -> None:
    t = sample_times(torch.tensor([0.0, 1.0]), config=TimeConfig(distribution="logit_normal"))
    assert bool(((t > 0) & (t < 1)).all())


@given(st.floats(0, 1), st.floats(0.1, 20))
def test_the_shift_is_undone_by_its_reciprocal(t: float, ratio: float) -> None:
    moved = shift_times(torch.tensor(t, dtype=torch.float64), ratio)
    assert math.isclose(float(shift_times(moved, 1 / ratio)), t, abs_tol=1e-9)


def test_larger_clips_spend_more_time_near_noise() -> None:
    ratios = [shift_ratio(height=s, width=s, num_frames=32) for s in (128, 256, 512)]
    times = [float(shift_times(torch.tensor(0.5), r)) for r in ratios]
    assert times == sorted(times, reverse=True)


def test_the_shift_is_open_soras_on_its_reversed_clock() -> None:
    ratio, t = shift_ratio(height=256, width=256, num_frames=32), torch.linspace(0, 1, 11)
    reverse = 1 - t
    assert math.isclose(ratio, math.sqrt(5) / 2)  # 5 latent frames for 32, by its own count
    torch.testing.assert_close(1 - shift_times(t, ratio), ratio * reverse / (1 + (ratio - 1) * reverse))


def test_a_share_of_the_pictures_is_finished_and_the_others_are_at_the_sounds_time() -> None:
    t, uniform = torch.full((10_000,), 0.4), torch.linspace(0, 1, 10_001)[:-1]
    found = video_times(t, uniform, clean=0.25)
    assert bool((found[:2500] == 1).all()) and torch.equal(found[2500:], t[2500:])
    assert torch.equal(video_times(t, uniform, clean=0.0), t)
    assert bool((video_times(t, uniform, clean=1.0) == 1).all())
