"""Scores of a window, which are stored, and the thresholds, which may be applied again later."""

import dataclasses

import numpy as np

from preprocessing.decode_config import FilterConfig
from syncflow.media import MediaWindow
from syncflow.onsets import TOLERANCE_S, audio_onsets, match_events, motion_peaks
from syncflow.records import ClipSpec, DecodedClip, DecodedWindow, Dropped

SCORE_NAMES = (
    "motion",
    "static_fraction",
    "loudness_dbfs",
    "silence_fraction",
    "clipping_fraction",
    "audio_onsets",
    "motion_peaks",
    "onset_correspondence",
    "video_decoded",
    "audio_decoded",
    "phase_cancellation",
    "clip_seconds",
)
_ROWS = 128  # a frame is looked at in every so many-th pixel, so that about this many rows are left
_STATIC_DIFFERENCE = 0.5  # of 255: below this mean difference, two frames are all but equal
_SILENT_DBFS = -60.0
_PIECE_S = 0.02
_FULL_SCALE = 0.999
_FLOOR_DBFS = -120.0


def score_window(window: DecodedWindow, *, spec: ClipSpec) -> dict[str, float]:
    """The scores of a window's frames and samples; `media_scores` and the clip's `clip_seconds` join them.

    motion: mean absolute difference of successive frames, 0 to 255. static_fraction: of frame pairs that are
    all but equal. loudness_dbfs: root mean square level, -120 (digital silence) to 0. silence_fraction: of
    20 ms pieces below -60 dBFS. clipping_fraction: of samples at full scale. audio_onsets, motion_peaks:
    how many. onset_correspondence: F1 of their one-to-one matching within 0.1 s, 0 where nothing matches or
    there is nothing to match.
    """
    step = max(1, window.frames.shape[1] // _ROWS)
    frames = window.frames[:, ::step, ::step].astype(np.float32)
    differences = _frame_differences(frames)
    piece = max(1, round(_PIECE_S * spec.sample_rate))
    pieces = window.audio[: len(window.audio) // piece * piece].reshape(-1, piece)
    onsets = audio_onsets(window.audio, spec.sample_rate)
    peaks = motion_peaks(frames[:, ::2, ::2], spec.fps)
    matched = len(match_events(onsets, peaks, tolerance_s=TOLERANCE_S))
    return {
        "motion": float(differences.mean()),
        "static_fraction": float((differences < _STATIC_DIFFERENCE).mean()),
        "loudness_dbfs": float(_dbfs(window.audio[None])[0]),
        "silence_fraction": float((_dbfs(pieces) < _SILENT_DBFS).mean()),
        "clipping_fraction": float((np.abs(window.audio) >= _FULL_SCALE).mean()),
        "audio_onsets": float(len(onsets)),
        "motion_peaks": float(len(peaks)),
        "onset_correspondence": 2.0 * matched / max(1, len(onsets) + len(peaks)),
    }


def media_scores(window: MediaWindow) -> dict[str, float]:
    """What the decoder tells of a window: fractions of 0 to 1.

    video_decoded, audio_decoded: of the frames and samples that were decoded, and not filled in.
    phase_cancellation: of the power of left and right that their average loses.
    """
    return {
        "video_decoded": window.video_decoded,
        "audio_decoded": window.audio_decoded,
        "phase_cancellation": window.phase_cancellation,
    }


def _frame_differences(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each successive pair, of 255; [0] for a single frame."""
    if len(frames) < 2:
        return np.zeros(1)
    return np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))


def _dbfs(pieces: np.ndarray) -> np.ndarray:
    power = np.square(pieces.astype(np.float64)).mean(axis=-1)
    return 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DBFS / 10)))


def broken_rule(scores: dict[str, float], config: FilterConfig) -> str | None:
    """The first rule of `config` that these scores break, if any: the reason of a rejection."""
    rules = {
        "partly_decoded": scores["video_decoded"] < config.min_video_decoded
        or scores["audio_decoded"] < config.min_audio_decoded,
        "short_clip": scores["clip_seconds"] < config.min_clip_seconds,
        "static": scores["motion"] < config.min_motion
        or scores["static_fraction"] > config.max_static_fraction,
        "silent": scores["silence_fraction"] > config.max_silence_fraction
        or scores["loudness_dbfs"] < config.min_loudness_dbfs,
        "clipped": scores["clipping_fraction"] > config.max_clipping_fraction,
        "out_of_phase": scores["phase_cancellation"] > config.max_phase_cancellation,
        "no_correspondence": scores["onset_correspondence"] < config.min_onset_correspondence,
    }
    return next((name for name, broken in rules.items() if broken), None)


class FilterStep:
    """Leaves out windows by their scores; a clip without a window left is rejected, by its first's rule."""

    def __init__(self, config: FilterConfig) -> None:
        self.config = config

    def __call__(self, batch: list[DecodedClip]) -> list[DecodedClip | Dropped]:
        return [self._filter(clip) for clip in batch]

    def _filter(self, clip: DecodedClip) -> DecodedClip | Dropped:
        rules = [broken_rule(scores, self.config) for scores in clip.scores]
        kept = [k for k, rule in enumerate(rules) if rule is None]
        if kept:
            return dataclasses.replace(
                clip,
                windows=tuple(clip.windows[k] for k in kept),
                scores=tuple(clip.scores[k] for k in kept),
            )
        reason = rules[0]
        assert reason is not None, "a decoded clip has at least one window"
        shown = ", ".join(f"{name} {value:.4g}" for name, value in clip.scores[0].items())
        return Dropped(
            ref=clip.ref, kind="rejected", reason=reason, detail=shown, source_sha256=clip.source_sha256
        )
