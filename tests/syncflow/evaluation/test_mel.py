"""The mel distance on sounds whose distance is known."""

import numpy as np
import pytest

from syncflow.evaluation.mel import mel_distance_db

RATE = 48_000


def noise(seed: int, *, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(RATE)


def test_a_copy_has_no_distance() -> None:
    assert mel_distance_db(noise(0), noise(0), sample_rate=RATE) == 0.0


def test_half_the_level_is_six_decibels() -> None:
    found = mel_distance_db(noise(0), 0.5 * noise(0), sample_rate=RATE)
    assert found == pytest.approx(20 * np.log10(2), abs=0.05)


def test_it_hears_no_phase_but_colour() -> None:
    other_phase = mel_distance_db(noise(0), -noise(0), sample_rate=RATE)
    colour = mel_distance_db(noise(0), np.diff(noise(0), prepend=0.0), sample_rate=RATE)
    assert other_phase == 0.0 and colour > 5.0


def test_silence_against_what_is_under_the_floor_is_no_distance() -> None:
    assert mel_distance_db(np.zeros(RATE), noise(0, level=1e-7), sample_rate=RATE) == 0.0


def test_it_is_symmetric_and_works_at_other_rates() -> None:
    forth = mel_distance_db(noise(0), noise(1), sample_rate=16_000)
    assert forth == mel_distance_db(noise(1), noise(0), sample_rate=16_000) and 3.0 < forth < 15.0
