"""Measured on synthetic clips of known truth (64x64, 4 s, seed 5, 14 clips of seven materials)."""

import math
from pathlib import Path

import numpy as np
import pytest

from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.scene import plan_scene
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow import onsets
from syncflow.evaluation.sync import sync_score
from syncflow.media import decode_window
from syncflow.onsets import audio_onsets, match_events, motion_peaks
from syncflow.records import ClipSpec

RATE, FPS = 48_000, 16
PROTOCOL = {
    "TOLERANCE_S": 0.1,
    "BANDS_HZ": ((50.0, 400.0), (400.0, 1500.0), (1500.0, 5000.0), (5000.0, 14_000.0)),
    "HOP_S": 0.001,
    "SPAN_S": 0.020,
    "RISE_DB": 9.0,
    "FLOOR_DBFS": -50.0,
    "MASKED_DB": 20.0,
    "MASK_S": 0.25,
    "ONSET_GAP_S": 0.12,
    "PICK_S": (0.020, 0.012),
    "SMOOTH": 0.03,
    "MOTION_FLOOR": 0.25,
    "MOTION_SHARE": 0.25,
    "MOTION_RATIO": 1.5,
    "MOTION_GAP_S": 0.15,
    "MOTION_LATER": 1.15,
}
CONFIG = SyntheticClipsConfig(output=Path("unused"), size=64, fps=FPS, seed=5)


@pytest.fixture(scope="module")
def clips() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames, sound and true instants."""
    scenes = [plan_scene(CONFIG, index=index) for index in range(14)]
    return [
        (
            render_frames(scene, size=64, fps=FPS),
            render_audio(scene, sample_rate=RATE),
            np.array([impact.time_s for impact in scene.impacts]),
        )
        for scene in scenes
    ]


def f1(found: list[np.ndarray], truth: list[np.ndarray], *, tolerance_s: float) -> float:
    pairs = zip(found, truth, strict=True)
    matched = sum(len(match_events(a, b, tolerance_s=tolerance_s)) for a, b in pairs)
    return 2 * matched / (sum(map(len, found)) + sum(map(len, truth)))


def test_audio_onsets_are_found_to_ten_milliseconds(clips):
    found = [audio_onsets(audio, RATE) for _, audio, _ in clips]
    truth = [times for *_, times in clips]
    assert f1(found, truth, tolerance_s=0.010) >= 0.98


def test_motion_peaks_are_found_to_half_a_frame(clips):
    found = [motion_peaks(frames, FPS) for frames, *_ in clips]
    truth = [times for *_, times in clips]
    assert f1(found, truth, tolerance_s=0.5 / FPS + 1e-3) >= 0.9


@pytest.mark.parametrize("late_ms", [-200, -100, -50, 0, 50, 100, 200])
def test_shifted_sound_is_measured_as_shifted(clips, late_ms):
    offsets = []
    for frames, audio, _ in clips:
        shifted = np.roll(audio, round(late_ms / 1000 * RATE))
        score = sync_score(frames, shifted, fps=FPS, sample_rate=RATE, tolerance_s=0.28)
        offsets.append(score.offset_ms)
    assert abs(np.nanmedian(offsets) - late_ms) <= 10


def test_a_clips_own_sound_scores_high_and_anothers_low(clips):
    def mean_f1(shift: int) -> float:
        sounds = [audio for _, audio, _ in clips[shift:] + clips[:shift]]
        return float(
            np.mean(
                [
                    sync_score(frames, audio, fps=FPS, sample_rate=RATE).f1
                    for (frames, *_), audio in zip(clips, sounds, strict=True)
                ]
            )
        )

    assert mean_f1(0) >= 0.9
    assert mean_f1(1) <= 0.35


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.1, 0.5])
def test_silence_and_steady_noise_have_no_onset(level):
    noise = level * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    assert audio_onsets(noise.clip(-1, 1), RATE).size == 0


def test_still_pictures_and_steady_noise_have_no_motion_peak():
    rng = np.random.default_rng(0)
    still = np.repeat(rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8), 32, axis=0)
    assert motion_peaks(still, FPS).size == 0
    assert motion_peaks(rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8), FPS).size == 0


@pytest.mark.parametrize("num_samples", [0, 1, 100, 3000])
def test_short_sound_has_no_onset_and_no_fault(num_samples):
    assert audio_onsets(np.zeros(num_samples, np.float32), RATE).size == 0


def test_matching_is_one_to_one_and_as_large_as_can_be():
    offsets = match_events(np.array([0.0, 0.09]), np.array([0.08, 0.15]), tolerance_s=0.1)
    assert np.allclose(sorted(offsets), [-0.08, -0.06])  # the nearest pair first would match but one
    assert match_events(np.array([1.0, 1.01]), np.array([1.0]), tolerance_s=0.1).size == 1


def test_a_clip_without_events_has_no_score_and_one_with_sound_alone_scores_zero():
    still, silence = np.zeros((32, 16, 16, 3), np.uint8), np.zeros(2 * RATE, np.float32)
    nothing = sync_score(still, silence, fps=FPS, sample_rate=RATE)
    assert math.isnan(nothing.f1) and math.isnan(nothing.offset_ms)
    click = silence.copy()
    click[RATE : RATE + 2000] = np.random.default_rng(0).uniform(-0.5, 0.5, 2000)
    alone = sync_score(still, click, fps=FPS, sample_rate=RATE)
    assert alone.f1 == 0 and alone.num_audio_onsets == 1 and math.isnan(alone.offset_ms)


@pytest.mark.parametrize(
    ("name", "late_ms"),
    [("derived_flash_beep_sync0.mp4", 0), ("derived_flash_beep_audio_start250ms.mp4", 250)],
)
def test_flash_beep_files_measure_as_they_were_made(shared, name, late_ms):
    spec = ClipSpec(seconds=4.0, fps=30, height=64, width=64)
    frames, audio = decode_window(shared / "data" / "clips" / name, start_s=0.5, spec=spec)
    onsets, peaks = audio_onsets(audio, RATE), motion_peaks(frames, spec.fps)
    assert np.allclose(peaks, [0.5, 1.5, 2.5, 3.5], atol=1 / spec.fps)
    score = sync_score(frames, audio, fps=spec.fps, sample_rate=RATE, tolerance_s=0.3)
    assert len(onsets) == 4 and score.f1 == 1.0
    assert abs(score.offset_ms - late_ms) <= 500 / spec.fps + 5  # half a frame, and 5 ms of AAC pre-echo


def test_a_real_recording_of_hits_on_metal_is_in_sync(shared):
    spec = ClipSpec(seconds=6.0, fps=16, height=64, width=64)
    frames, audio = decode_window(shared / "data" / "clips" / "gh_hitting_metal.mp4", start_s=0.0, spec=spec)
    score = sync_score(frames, audio, fps=spec.fps, sample_rate=RATE)
    assert 8 <= score.num_audio_onsets <= 10  # a stroke each 0.77 s
    assert score.f1 >= 0.5 and abs(score.offset_ms) <= 40  # measured: 0.63, 7 ms


def test_the_thresholds_of_the_protocol_are_those_that_every_published_score_was_measured_with() -> None:
    """Scores under others do not compare; a change here needs docs/results.md measured anew."""
    assert {name: getattr(onsets, name) for name in PROTOCOL} == PROTOCOL


def test_a_sound_that_rises_less_than_the_threshold_is_no_onset() -> None:
    """Noise in one band, louder from the middle on; the rise counts over twice the quiet tenth's energy."""
    draw = np.random.default_rng(0)
    noise = draw.standard_normal(2 * RATE)
    for rise_db, expected in ((8, 0), (20, 1)):
        audio = 0.01 * noise
        audio[RATE:] *= 10 ** (rise_db / 20)
        assert len(audio_onsets(audio, RATE)) == expected
