"""AV-Align: do onsets of the sound and peaks of optical flow coincide? Both published variants.

`tempotokens` is the original; `javisbench` drops its least flow and its rule that a video peak is used once.
Known flaw of both: where a clip's noise floor starts the detector gives an onset at 0.07 s, so that perfect
sync of three events scores 0.75.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from syncflow.errors import UserError
from syncflow.evaluation.extractors.waveforms import mel_filters
from syncflow.evaluation.metrics.events import Variant, intersection_over_union

RATE = 22_050  # Hz, to which `tempotokens` resamples
SPECTRUM, HOP, MELS = 2048, 512, 128
TOP_DB = 80.0
PRE_MAX_S, AVERAGE_S, WAIT_S, DELTA = 0.03, 0.10, 0.03, 0.07
LEAST_FLOW = 0.1  # pixels a frame
FARNEBACK = (
    0.5,
    3,
    15,
    3,
    5,
    1.2,
    0,
)  # pyramid scale, levels, window, iterations, neighbourhood, sigma, flags


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """AV-Align of one clip; `score` is NaN where neither sound nor video has a peak."""

    score: float
    matches: int
    audio_peaks_s: np.ndarray
    video_peaks_s: np.ndarray


def av_align(
    frames: np.ndarray, audio: np.ndarray, *, fps: float, sample_rate: int, variant: Variant = "tempotokens"
) -> Alignment:
    """AV-Align of one clip.

    Args:
        frames: uint8 `f h w c`, RGB.
        audio: float32 `m`, mono; at 22.05 kHz for `tempotokens`, at the file's own rate for `javisbench`.

    Raises:
        UserError: OpenCV is not installed.
    """
    onsets = onset_times(audio, sample_rate)
    peaks = flow_peaks(flow_magnitude(frames), fps, variant=variant)
    return align(onsets, peaks, fps=fps, variant=variant)


def align(onsets: np.ndarray, peaks: np.ndarray, *, fps: float, variant: Variant) -> Alignment:
    """AV-Align of the times of onsets and of flow peaks, seconds."""
    matches, used = 0, np.zeros(len(peaks), dtype=bool)
    for onset in onsets:
        near = np.flatnonzero((np.abs(peaks - onset) < 1.0 / fps) & ~used)
        if len(near):
            matches += 1
            used[near[0]] = variant == "tempotokens"
    score = float(intersection_over_union(np.array([matches, len(onsets), len(peaks)]), variant=variant))
    return Alignment(score=score, matches=matches, audio_peaks_s=onsets, video_peaks_s=peaks)


def flow_magnitude(frames: np.ndarray) -> np.ndarray:
    """Mean length of Farneback's flow into each frame, pixels: `f`; the first flow stands for frame 0 too.

    Raises:
        UserError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise UserError(
            "AV-Align: needs OpenCV for its optical flow; pip install 'syncflow[evaluate]'"
        ) from None
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    found = []
    for before, after in itertools.pairwise(grey):
        flow: Any = cv2.calcOpticalFlowFarneback(before, after, None, *FARNEBACK)  # type: ignore[call-overload]
        found.append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()))
    return np.array([found[0], *found]) if found else np.zeros(len(frames))


def flow_peaks(magnitude: np.ndarray, fps: float, *, variant: Variant) -> np.ndarray:
    """Times of strict local maxima of the flow, seconds; the original asks for at least 0.1 pixel.

    Args:
        magnitude: mean length of the optical flow of each frame, pixels.
    """
    inner = magnitude[1:-1]
    peak = (inner > magnitude[:-2]) & (inner > magnitude[2:])
    if variant == "tempotokens":
        peak &= inner >= LEAST_FLOW
    return (np.flatnonzero(peak) + 1) / fps


def onset_times(audio: np.ndarray, rate: int) -> np.ndarray:
    """Onsets by librosa's default detector, seconds."""
    envelope = onset_envelope(audio, rate)
    return pick_peaks(envelope, rate) * HOP / rate


def onset_envelope(audio: np.ndarray, rate: int) -> np.ndarray:
    """Spectral flux of the log mel spectrogram: one value a hop, `frame`."""
    window = torch.hann_window(SPECTRUM, dtype=torch.float32)
    wave = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    spectrum = (
        torch.stft(wave, SPECTRUM, HOP, window=window, pad_mode="constant", return_complex=True)
        .abs()
        .square()
    )
    filters = mel_filters(
        bins=SPECTRUM // 2 + 1, mels=MELS, low=0.0, high=rate / 2, rate=rate, scale="slaney", normed=True
    )
    decibels = 10.0 * np.log10(np.maximum(filters.T @ spectrum.double().numpy(), 1e-10))
    decibels = np.maximum(decibels, decibels.max() - TOP_DB)  # mel frame
    rise = np.maximum(decibels[:, 1:] - decibels[:, :-1], 0.0).mean(0)
    start = 1 + SPECTRUM // (2 * HOP)  # the difference's lag, and half a window that the frame is centred by
    return np.pad(rise, (start, 0))[: decibels.shape[1]]


def pick_peaks(envelope: np.ndarray, rate: int) -> np.ndarray:
    """Frames that are the largest near them, stand out of their mean, and lie apart: int64."""
    if not envelope.any():
        return np.zeros(0, dtype=np.int64)
    envelope = envelope - envelope.min()
    envelope = envelope / envelope.max()
    before_max, after_max = int(PRE_MAX_S * rate // HOP), 1
    before_mean, after_mean = int(AVERAGE_S * rate // HOP), int(AVERAGE_S * rate // HOP) + 1
    wait = int(WAIT_S * rate // HOP)
    found: list[int] = []
    largest = ndimage.maximum_filter1d(
        envelope,
        before_max + after_max,
        origin=(before_max - after_max + 1) // 2,
        mode="constant",
        cval=float(envelope.min()),
    )
    for place, value in enumerate(envelope):
        around = envelope[max(0, place - before_mean) : place + after_mean]
        if value < largest[place] or value < around.mean() + DELTA:
            continue
        if not found or place > found[-1] + wait:
            found.append(place)
    return np.array(found, dtype=np.int64)
