"""Reconstruction figures on reconstructions whose faults are known."""

import math

import numpy as np
import pytest

from syncflow.evaluation.reconstruction import (
    AudioReconstruction,
    score_audio,
    score_video,
    si_sdr_db,
    summarise_audio,
    summarise_video,
)

RATE = 48_000


def hits(*instants: float, late: float = 0.0) -> np.ndarray:
    sound = (1e-4 * np.random.default_rng(0).standard_normal(2 * RATE)).astype(np.float32)
    for instant in instants:
        start = round((instant + late) * RATE)
        time = np.arange(RATE // 5) / RATE
        sound[start : start + len(time)] += (0.5 * np.exp(-time * 30) * np.sin(time * 9000)).astype(
            np.float32
        )
    return sound


def audio_reconstruction(*pairs: tuple[np.ndarray, np.ndarray]) -> AudioReconstruction:
    return summarise_audio([score_audio(original, made, sample_rate=RATE) for original, made in pairs])


def test_a_perfect_copy_keeps_every_onset() -> None:
    found = audio_reconstruction(*[(hits(0.4, 1.1), hits(0.4, 1.1))] * 2)
    assert (found.windows, found.onsets, found.onset_f1, found.onset_offset_ms) == (2, 4, 1.0, 0.0)


@pytest.mark.parametrize("late_ms", [-4.0, 3.0, 8.0])
def test_a_late_copy_is_late_by_as_much(late_ms: float) -> None:
    found = audio_reconstruction((hits(0.4, 1.1), hits(0.4, 1.1, late=late_ms / 1000)))
    assert found.onset_f1 == 1.0 and abs(found.onset_offset_ms - late_ms) < 0.5


def test_onsets_beyond_ten_milliseconds_are_lost() -> None:
    found = audio_reconstruction((hits(0.4, 1.1), hits(0.4, 1.1, late=0.02)))
    assert found.onset_f1 == 0.0 and math.isnan(found.onset_offset_ms)


def test_a_missing_onset_lowers_the_score() -> None:
    found = audio_reconstruction((hits(0.4, 1.1), hits(0.4)))
    assert found.onset_f1 == pytest.approx(2 / 3)


def test_onsets_are_pooled_over_windows() -> None:
    pairs = [(hits(0.3, 0.8, 1.4), hits(0.3, 0.8, 1.4)), (hits(0.5), hits())]
    assert audio_reconstruction(*pairs).onset_f1 == pytest.approx(2 * 3 / (4 + 3))


def test_silence_has_no_ratio_and_no_onsets() -> None:
    silence = np.zeros(2 * RATE, dtype=np.float32)
    found = audio_reconstruction((silence, silence))
    assert found.onsets == 0 and math.isnan(found.onset_f1) and math.isnan(found.si_sdr_db)


def test_si_sdr_knows_no_scale_and_measures_noise() -> None:
    draw = np.random.default_rng(0)
    sound, noise = draw.standard_normal(RATE), draw.standard_normal(RATE)
    assert si_sdr_db(sound, 0.1 * sound) > 100
    assert si_sdr_db(sound, sound + 0.1 * noise) == pytest.approx(20.0, abs=0.2)


def test_an_error_of_one_level_everywhere_is_48_db() -> None:
    frames = np.full((3, 16, 16, 3), 100, dtype=np.uint8)
    found = summarise_video([score_video(frames, frames + np.uint8(1), fps=16)])
    assert found.psnr_db == pytest.approx(20 * math.log10(255), abs=1e-3) and found.windows == 1


def test_equal_pictures_have_the_highest_figures_and_noise_lower_ones() -> None:
    frames = np.random.default_rng(0).integers(0, 200, (2, 32, 32, 3), dtype=np.uint8)
    same = score_video(frames, frames, fps=16)
    noise = np.random.default_rng(1).integers(0, 30, frames.shape, dtype=np.uint8)
    noisy = score_video(frames, frames + noise, fps=16)
    assert same.ssim == pytest.approx(1.0) and same.psnr_db == 100.0
    assert noisy.ssim < same.ssim and noisy.psnr_db < 30


def test_offsets_are_weighted_by_the_onsets_that_were_kept() -> None:
    late = (hits(0.4, 1.1), hits(0.4, 1.1, late=0.006))
    on_time, silent = (hits(0.5), hits(0.5)), (hits(), hits())
    found = audio_reconstruction(late, on_time, silent)
    assert found.onset_offset_ms == pytest.approx(4.0, abs=0.5) and found.windows == 3


def strokes(*frames: int) -> np.ndarray:
    """A clip in which a square lights up at some frames and fades: `f h w c`."""
    clip = np.full((32, 32, 32, 3), 40, dtype=np.uint8)
    for first in frames:
        for after in range(min(6, 32 - first)):
            clip[first + after, 8:20, 8:20] = 40 + round(180 * math.exp(-after / 2))
    return clip


def test_a_picture_that_stands_still_in_the_copy_keeps_no_motion_peak_whatever_its_psnr() -> None:
    moving = strokes(8, 20)
    still = np.repeat(moving.mean(0, keepdims=True).astype(np.uint8), 32, axis=0)
    found = summarise_video([score_video(moving, still, fps=16)])
    assert found.psnr_db > 18 and (found.peaks, found.motion_f1) == (2, 0.0)


@pytest.mark.parametrize(("late", "f1"), [(0, 1.0), (1, 1.0), (2, 0.0)])
def test_motion_peaks_are_kept_within_a_frame(late: int, f1: float) -> None:
    score = score_video(strokes(8, 20), strokes(8 + late, 20 + late), fps=16)
    assert summarise_video([score]).motion_f1 == f1
