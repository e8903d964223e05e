"""How much of a clip an autoencoder keeps: picture (PSNR, SSIM), sound (SI-SDR) and the instants of onsets.

An autoencoder that smears attacks ruins synchrony, so onsets of the reconstruction are matched with those
of the original at 10 ms.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from syncflow.evaluation.mel import mel_distance_db
from syncflow.onsets import audio_onsets, match_events

ONSET_TOLERANCE_S = 0.010


@dataclass(frozen=True, kw_only=True)
class VideoReconstruction:
    """Means over windows."""

    windows: int
    psnr_db: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class AudioReconstruction:
    """SI-SDR and mel distance are means over windows; onsets are pooled over all of them."""

    windows: int
    si_sdr_db: float
    mel_distance_db: float
    onsets: int
    onset_f1: float
    onset_offset_ms: float


def video_reconstruction(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> VideoReconstruction:
    """Compare `(original, reconstruction)` frames uint8 `f h w c`."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    psnr, ssim = [], []
    for original, made in pairs:
        x, y = (torch.from_numpy(v.astype(np.float32) / 255.0).permute(0, 3, 1, 2) for v in (original, made))
        mse = float((x - y).square().mean())
        psnr.append(10.0 * math.log10(1.0 / max(mse, 1e-10)))
        ssim.append(float(structural_similarity_index_measure(y, x, data_range=1.0)))  # type: ignore[arg-type]
    return VideoReconstruction(windows=len(psnr), psnr_db=float(np.mean(psnr)), ssim=float(np.mean(ssim)))


def audio_reconstruction(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], *, sample_rate: int
) -> AudioReconstruction:
    """Compare `(original, reconstruction)` sounds float32 `m`."""
    ratios, mels, offsets, windows, originals, found = [], [], [], 0, 0, 0
    for original, made in pairs:
        windows += 1
        if np.any(original):
            ratios.append(si_sdr_db(original, made))
        mels.append(mel_distance_db(original, made, sample_rate=sample_rate))
        true, heard = audio_onsets(original, sample_rate), audio_onsets(made, sample_rate)
        matched = match_events(heard, true, tolerance_s=ONSET_TOLERANCE_S)
        originals, found = originals + len(true), found + len(heard)
        offsets.extend(matched.tolist())
    events = originals + found
    return AudioReconstruction(
        windows=windows,
        si_sdr_db=float(np.mean(ratios)) if ratios else math.nan,
        mel_distance_db=float(np.mean(mels)) if mels else math.nan,
        onsets=originals,
        onset_f1=2 * len(offsets) / events if events else math.nan,
        onset_offset_ms=1000.0 * float(np.mean(offsets)) if offsets else math.nan,
    )


def si_sdr_db(original: np.ndarray, made: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio, dB."""
    x, y = original.astype(np.float64), made.astype(np.float64)
    target = x * (x @ y) / max(x @ x, 1e-12)
    return 10.0 * math.log10(max(target @ target, 1e-12) / max(float(np.square(y - target).sum()), 1e-12))
