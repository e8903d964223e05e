"""AV-Align of events that were counted: how many of a clip's sounds and motions belong together."""

from typing import Literal

import numpy as np

Variant = Literal["tempotokens", "javisbench"]


def intersection_over_union(counts: np.ndarray, *, variant: Variant = "tempotokens") -> np.ndarray:
    """Matches, audio peaks and video peaks `... 3` -> scores `...`; NaN where there is no peak at all."""
    matches, audio, video = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    union = audio + video - matches
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = matches / (union + (1e-6 if variant == "javisbench" else 0.0))
    return np.where(audio + video > 0, scores, np.nan)
