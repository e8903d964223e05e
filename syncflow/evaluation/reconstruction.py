"""How much of a window an autoencoder keeps: picture (PSNR, SSIM), sound (SI-SDR), and the instants of both.

An autoencoder that smears attacks or strokes ruins synchrony, however good its other figures: what moves is
a small part of a picture. So audio onsets of the reconstruction are matched with those of the original at
10 ms, and motion peaks within a frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syncflow.evaluation.mel import mel_distance_db
from syncflow.onsets import audio_onsets, match_events, motion_peaks

ONSET_TOLERANCE_S = 0.010
FRAME_ROUNDING_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class VideoScore:
    """Of one window."""

    psnr_db: float
    ssim: float
    peaks: int  # of motion, in the original
    found: int  # in the reconstruction
    kept: int  # pairs within a frame


@dataclass(frozen=True, kw_only=True)
class AudioScore:
    """Of one window; SI-SDR is NaN in silence, the offset where no onset is kept."""

    si_sdr_db: float
    mel_distance_db: float
    onsets: int  # in the original
    found: int  # in the reconstruction
    kept: int  # pairs within 10 ms
    offset_ms: float  # mean over these pairs; positive when the reconstruction is late


@dataclass(frozen=True, kw_only=True)
class VideoReconstruction:
    """PSNR and SSIM are means over windows; motion peaks are pooled over all of them."""

    windows: int
    psnr_db: float
    ssim: float
    peaks: int
    motion_f1: float


@dataclass(frozen=True, kw_only=True)
class AudioReconstruction:
    """SI-SDR and mel distance are means over windows; onsets are pooled over all of them."""

    windows: int
    si_sdr_db: float
    mel_distance_db: float
    onsets: int
    onset_f1: float
    onset_offset_ms: float


def score_video(original: np.ndarray, made: np.ndarray, *, fps: float) -> VideoScore:
    """Compare frames uint8 `f h w c`."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = (torch.from_numpy(v.astype(np.float32) / 255.0).permute(0, 3, 1, 2) for v in (original, made))
    mse = float((x - y).square().mean())
    ssim = float(structural_similarity_index_measure(y, x, data_range=1.0))  # type: ignore[arg-type]
    true, seen = motion_peaks(original, fps), motion_peaks(made, fps)
    return VideoScore(
        psnr_db=10.0 * math.log10(1.0 / max(mse, 1e-10)),
        ssim=ssim,
        peaks=len(true),
        found=len(seen),
        kept=len(match_events(seen, true, tolerance_s=1 / fps + FRAME_ROUNDING_S)),
    )


def score_audio(original: np.ndarray, made: np.ndarray, *, sample_rate: int) -> AudioScore:
    """Compare sounds float32 `m`."""
    true, heard = audio_onsets(original, sample_rate), audio_onsets(made, sample_rate)
    offsets = match_events(heard, true, tolerance_s=ONSET_TOLERANCE_S)
    return AudioScore(
        si_sdr_db=si_sdr_db(original, made) if np.any(original) else math.nan,
        mel_distance_db=mel_distance_db(original, made, sample_rate=sample_rate),
        onsets=len(true),
        found=len(heard),
        kept=len(offsets),
        offset_ms=1000.0 * float(np.mean(offsets)) if len(offsets) else math.nan,
    )


def summarise_video(scores: Sequence[VideoScore]) -> VideoReconstruction:
    """Means over windows, and peaks pooled; NaN where there is nothing to say."""
    peaks, found, kept = (sum(getattr(s, name) for s in scores) for name in ("peaks", "found", "kept"))
    return VideoReconstruction(
        windows=len(scores),
        psnr_db=_mean([s.psnr_db for s in scores]),
        ssim=_mean([s.ssim for s in scores]),
        peaks=peaks,
        motion_f1=_f1(peaks, found, kept),
    )


def summarise_audio(scores: Sequence[AudioScore]) -> AudioReconstruction:
    """Means over windows, and onsets pooled; NaN where there is nothing to say."""
    onsets, found, kept = (sum(getattr(s, name) for s in scores) for name in ("onsets", "found", "kept"))
    late = sum(s.kept * s.offset_ms for s in scores if s.kept)
    return AudioReconstruction(
        windows=len(scores),
        si_sdr_db=_mean([s.si_sdr_db for s in scores]),
        mel_distance_db=_mean([s.mel_distance_db for s in scores]),
        onsets=onsets,
        onset_f1=_f1(onsets, found, kept),
        onset_offset_ms=late / kept if kept else math.nan,
    )


def si_sdr_db(original: np.ndarray, made: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio, dB."""
    x, y = original.astype(np.float64), made.astype(np.float64)
    target = x * (x @ y) / max(x @ x, 1e-12)
    return 10.0 * math.log10(max(target @ target, 1e-12) / max(float(np.square(y - target).sum()), 1e-12))


def _f1(true: int, found: int, kept: int) -> float:
    return 2 * kept / (true + found) if true + found else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
