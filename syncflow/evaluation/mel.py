"""Distance of two sounds as they are heard: mean difference of their mel spectrograms, in dB."""

import numpy as np
from scipy import signal

NUM_MELS = 80
WINDOW_S = 1024 / 48_000
FLOOR_DB = -80.0  # of a full-scale sine; what is softer counts as this


def mel_distance_db(original: np.ndarray, made: np.ndarray, *, sample_rate: int) -> float:
    """Mean absolute difference over frames and mel bands of two sounds `m`, dB."""
    return float(np.abs(mel_db(original, sample_rate) - mel_db(made, sample_rate)).mean())


def mel_db(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """`mel frame`: energy of each band, dB of a full-scale sine."""
    length = round(WINDOW_S * sample_rate)
    _, _, spectrum = signal.stft(
        audio.astype(np.float64), sample_rate, window="hann", nperseg=length, noverlap=length * 3 // 4
    )  # scaled so that a sine of amplitude a has magnitude a / 2
    energy = _filters(length, sample_rate) @ np.square(2.0 * np.abs(spectrum))
    return 10.0 * np.log10(np.maximum(energy, 10.0 ** (FLOOR_DB / 10.0)))


def _filters(length: int, sample_rate: int) -> np.ndarray:
    """Triangles `mel bin` that reach 1, at distances that are equal on the mel scale."""
    top = 2595.0 * np.log10(1.0 + sample_rate / 2 / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(0.0, top, NUM_MELS + 2) / 2595.0) - 1.0)  # Hz
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(length // 2 + 1) * sample_rate / length
    return np.clip(np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)), 0.0, None)
