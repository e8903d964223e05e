"""Are sound and picture together? Audio onsets against motion peaks, one to one; no weights.

The instants, their convention of time and their thresholds are those of `syncflow/onsets.py`.
"""

import math
from dataclasses import dataclass

import numpy as np

from syncflow.onsets import TOLERANCE_S, audio_onsets, match_events, motion_peaks
from syncflow.records import ClipSpec, SyncScore

NOTHING_HAPPENS = -1.0  # of `sync_quality`: no onset, no motion


@dataclass(frozen=True, kw_only=True)
class ClipEvents:
    """All that the score needs of a clip; frames and samples need not be kept."""

    onsets: np.ndarray  # seconds, rising: when sounds start
    peaks: np.ndarray  # seconds, rising: when motions end

    @classmethod
    def of(cls, frames: np.ndarray, audio: np.ndarray, *, fps: float, sample_rate: int) -> "ClipEvents":
        """Events of frames uint8 `f h w c` and mono audio float `m` in [-1, 1]; rates in Hz."""
        return cls(onsets=audio_onsets(audio, sample_rate), peaks=motion_peaks(frames, fps))

    def score(self, *, tolerance_s: float = TOLERANCE_S) -> SyncScore:
        """As `sync_score`."""
        offsets = match_events(self.onsets, self.peaks, tolerance_s=tolerance_s)
        precision = len(offsets) / len(self.onsets) if len(self.onsets) else float("nan")
        recall = len(offsets) / len(self.peaks) if len(self.peaks) else float("nan")
        events = len(self.onsets) + len(self.peaks)
        return SyncScore(
            precision=precision,
            recall=recall,
            f1=2 * len(offsets) / events if events else float("nan"),
            offset_ms=1000 * float(offsets.mean()) if len(offsets) else float("nan"),
            num_audio_onsets=len(self.onsets),
            num_motion_peaks=len(self.peaks),
        )


def sync_score(
    frames: np.ndarray, audio: np.ndarray, *, fps: float, sample_rate: int, tolerance_s: float = TOLERANCE_S
) -> SyncScore:
    """How well audio onsets and motion peaks match, one to one, within `tolerance_s` seconds.

    `f1` is NaN when a clip has neither, and 0 when it has but one of the two. `offset_ms` is the mean
    of audio minus video over the matched pairs: positive when the sound is late.

    Args:
        frames: uint8 `f h w c`.
        audio: float `m`, mono, in [-1, 1].
        fps: frames a second.
        sample_rate: Hz.
        tolerance_s: farthest distance of a match, seconds.
    """
    return ClipEvents.of(frames, audio, fps=fps, sample_rate=sample_rate).score(tolerance_s=tolerance_s)


def sync_quality(frames: np.ndarray, audio: np.ndarray, spec: ClipSpec) -> float:
    """F1 of audio onsets and motion peaks, less a hundredth at the offset that still matches.

    So of clips with the same F1 the one with the smaller mean offset is better; one in which nothing
    happens (no onset, no motion) is worse than any.

    Args:
        frames: uint8 `f h w c`.
        audio: float32 `m`.
        spec: the clip's rates.
    """
    score = sync_score(frames, audio, fps=spec.fps, sample_rate=spec.sample_rate)
    if math.isnan(score.f1):
        return NOTHING_HAPPENS
    late = 0.0 if math.isnan(score.offset_ms) else abs(score.offset_ms) / (1000 * TOLERANCE_S)
    return score.f1 - 0.01 * late
