"""AV-Align: the originals' envelopes, flow, peaks and scores in both variants, and its false start."""

import json
from pathlib import Path

import numpy as np
import pytest

from syncflow.evaluation import av_align as module
from syncflow.evaluation.av_align import av_align, flow_magnitude, flow_peaks, onset_envelope, pick_peaks
from tests.syncflow.evaluation.golden_weights import close, golden

cv2 = pytest.importorskip("cv2")
CASES = ("synced", "late_250ms", "one_of_three")


@pytest.mark.parametrize("case", CASES)
def test_onsets_and_flow_equal_the_originals(shared: Path, case: str) -> None:
    arrays, _ = golden(shared, "av_align_a")
    audio, frames = arrays[f"{case}.waveform_22050"], arrays[f"{case}.frames_bgr"][..., ::-1]
    envelope = onset_envelope(audio, 22_050)
    close(envelope, arrays[f"{case}.onset_envelope"], tolerance=1e-4)
    assert (pick_peaks(envelope, 22_050) == arrays[f"{case}.onset_frames"]).all()
    close(flow_magnitude(frames), arrays[f"{case}.flow_magnitude"], tolerance=1e-4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("variant", ["tempotokens", "javisbench"])
def test_scores_equal_the_originals(shared: Path, case: str, variant: module.Variant) -> None:
    arrays, _ = golden(shared, "av_align_a")
    theirs = json.loads((shared / "golden/av_align_a/config.json").read_text())["scores"][case]
    frames = arrays[f"{case}.frames_bgr"][..., ::-1]
    found = av_align(frames, arrays[f"{case}.waveform_22050"], fps=16, sample_rate=22_050, variant=variant)
    assert found.score == pytest.approx(theirs[variant])
    assert found.audio_peaks_s == pytest.approx(theirs["audio_peaks"])
    video = theirs["video_peaks" if variant == "tempotokens" else "video_peaks_javis"]
    assert found.video_peaks_s == pytest.approx(video)


def test_the_noise_floors_start_is_a_false_onset(shared: Path) -> None:
    """The trap: perfect sync scores three of four."""
    arrays, _ = golden(shared, "av_align_a")
    frames = arrays["synced.frames_bgr"][..., ::-1]
    found = av_align(frames, arrays["synced.waveform_22050"], fps=16, sample_rate=22_050)
    assert found.audio_peaks_s[0] == pytest.approx(0.07, abs=0.001) and found.score == 0.75


def test_a_clip_without_events_is_not_available_rather_than_zero() -> None:
    frames, silence = np.zeros((32, 32, 32, 3), np.uint8), np.zeros(44_100, np.float32)
    for variant in ("tempotokens", "javisbench"):
        assert np.isnan(av_align(frames, silence, fps=16, sample_rate=22_050, variant=variant).score)


def test_only_the_original_has_a_least_flow_and_uses_a_video_peak_once() -> None:
    weak = np.array([0.0, 0.05, 0.0, 0.0])
    assert len(flow_peaks(weak, 16, variant="tempotokens")) == 0
    assert len(flow_peaks(weak, 16, variant="javisbench")) == 1
