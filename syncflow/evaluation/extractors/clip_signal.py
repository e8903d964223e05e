"""Features without weights: AV-Align's counts of events, and levels that tell silent and black clips."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from syncflow.evaluation.av_align import RATE, av_align
from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import Resampler
from syncflow.evaluation.extractors.waveforms import waveform_at


class AvAlignCounts:
    """`tempotokens` and `javisbench`: matches, audio peaks, video peaks of each variant."""

    name = "av_align"
    modality: Modality = "audio_video"
    outputs = ("tempotokens", "javisbench")

    def __init__(self, *, resampler: Resampler = "sinc") -> None:
        self.resampler: Resampler = resampler
        self.identity: dict[str, Any] = {
            "resampler": resampler,
            "tempotokens_rate": RATE,
            "javisbench_rate": "as decoded",
        }

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            if len(clip.video) < 4:
                found.append(Refused(reason=f"too_short: {len(clip.video)} frames, AV-Align needs 4"))
                continue
            resampled = waveform_at(clip, RATE, self.resampler)
            original = av_align(clip.video, resampled, fps=clip.fps, sample_rate=RATE)
            javis = av_align(
                clip.video, clip.waveform, fps=clip.fps, sample_rate=clip.sample_rate, variant="javisbench"
            )
            found.append(
                {
                    name: np.array([each.matches, len(each.audio_peaks_s), len(each.video_peaks_s)])
                    for name, each in (("tempotokens", original), ("javisbench", javis))
                }
            )
        return found


class Levels:
    """`levels`: peak of the sound (0 to 1) and largest pixel value (0 to 255)."""

    name = "levels"
    modality: Modality = "audio_video"
    outputs = ("levels",)
    identity: dict[str, Any] = {"version": 1}  # noqa: RUF012

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        return [
            {"levels": np.array([np.abs(clip.waveform).max(initial=0.0), clip.video.max(initial=0)])}
            for clip in clips
        ]
