"""What the best of several candidates is: the clip whose sound and picture are most together."""

import math

import numpy as np

from syncflow.evaluation.sync import TOLERANCE_S, sync_score
from syncflow.records import ClipSpec

NOTHING_HAPPENS = -1.0


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
