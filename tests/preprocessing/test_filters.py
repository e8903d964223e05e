"""Scores of windows whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

from preprocessing.decode_config import FilterConfig
from preprocessing.filters import SCORE_NAMES, FilterStep, score_window
from syncflow.records import ClipRef, ClipSpec, DecodedClip, DecodedWindow, Dropped

RATE = 48_000
SPEC = ClipSpec(height=8, width=8)
WHOLE = {"video_decoded": 1.0, "audio_decoded": 1.0, "phase_cancellation": 0.0, "clip_seconds": 10.0}
REF = ClipRef(dataset="d", clip_id="a", path=Path("/a.mp4"))


def window(*, moving: bool = True, gain: float = 0.5, index: int = 0) -> DecodedWindow:
    levels = np.arange(32, dtype=np.uint8) * (4 if moving else 0)
    frames = np.broadcast_to(levels[:, None, None, None], (32, 8, 8, 3))
    sound = np.clip(gain * np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE), -1, 1)
    return DecodedWindow(index=index, start_s=0.0, frames=frames, audio=sound.astype(np.float32))


def clip(*windows: DecodedWindow) -> DecodedClip:
    scores = tuple(score_window(w, spec=SPEC) | WHOLE for w in windows)
    return DecodedClip(ref=REF, source_sha256="0", windows=windows, scores=scores)


def test_a_plain_window_has_the_scores_it_must_have() -> None:
    scores = score_window(window(), spec=SPEC)
    assert {*scores, *WHOLE} == {*SCORE_NAMES}
    assert scores["motion"] == pytest.approx(4) and scores["static_fraction"] == 0
    assert scores["loudness_dbfs"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert scores["silence_fraction"] == 0 and scores["clipping_fraction"] == 0


def test_still_silent_and_clipped_windows_score_so() -> None:
    assert score_window(window(moving=False), spec=SPEC)["static_fraction"] == 1
    silent = score_window(window(gain=0), spec=SPEC)
    assert silent["silence_fraction"] == 1 and silent["loudness_dbfs"] == pytest.approx(-120)
    assert score_window(window(gain=2), spec=SPEC)["clipping_fraction"] > 0.5


STRICT = FilterConfig(max_static_fraction=0.9, max_silence_fraction=0.9, max_clipping_fraction=0.1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(window(moving=False), "static"), (window(gain=0), "silent"), (window(gain=2), "clipped")],
)
def test_a_clip_of_bad_windows_is_rejected_with_its_reason(bad: DecodedWindow, reason: str) -> None:
    (result,) = FilterStep(STRICT)([clip(bad)])
    assert isinstance(result, Dropped) and (result.kind, result.reason) == ("rejected", reason)


def test_a_good_window_survives_a_bad_one_and_keeps_its_index() -> None:
    (result,) = FilterStep(STRICT)([clip(window(gain=0), window(index=1))])
    assert isinstance(result, DecodedClip)
    assert [w.index for w in result.windows] == [1] and len(result.scores) == 1


def test_by_default_all_that_was_decoded_whole_is_kept() -> None:
    bad = clip(window(moving=False, gain=0), window(gain=2, index=1))
    (result,) = FilterStep(FilterConfig())([bad])
    assert isinstance(result, DecodedClip) and len(result.windows) == 2
