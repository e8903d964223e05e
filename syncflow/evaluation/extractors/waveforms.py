"""Sound for the backbones: resampling by a named kernel, and the mel filters that they share."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia
from syncflow.evaluation.extractors.settings import Resampler

SINC_WIDTH = 6  # zero crossings on each side
SINC_ROLLOFF = 0.99


def waveform_at(clip: DecodedMedia, rate: int, resampler: Resampler) -> np.ndarray:
    """The clip's sound at `rate` Hz, float32 `m`."""
    return resample(clip.waveform, clip.sample_rate, rate, resampler)


def resample(audio: np.ndarray, rate: int, new_rate: int, resampler: Resampler) -> np.ndarray:
    """`m` at `rate` -> `ceil(m new_rate / rate)` samples, float32."""
    audio = np.ascontiguousarray(audio, dtype=np.float32)
    if rate == new_rate:
        return audio
    common = math.gcd(rate, new_rate)
    up, down = new_rate // common, rate // common
    if resampler == "polyphase":
        return signal.resample_poly(audio.astype(np.float64), up, down).astype(np.float32)
    kernels, width = _sinc_kernels(up, down)
    padded = functional.pad(torch.from_numpy(audio)[None, None], (width, width + down))
    parts = functional.conv1d(padded, kernels, stride=down)  # 1 up step
    return parts[0].T.reshape(-1)[: math.ceil(up * len(audio) / down)].numpy()


@lru_cache(maxsize=16)
def _sinc_kernels(up: int, down: int) -> tuple[Tensor, int]:
    """A windowed sinc for each of the `up` phases: `up 1 tap`, and the taps before the sample."""
    cutoff = min(up, down) * SINC_ROLLOFF  # in units where `down` is the old rate and `up` the new one
    width = math.ceil(SINC_WIDTH * down / cutoff)
    taps = torch.arange(-width, width + down, dtype=torch.float64) / down
    phases = -torch.arange(up, dtype=torch.float64) / up
    time = ((phases[:, None] + taps[None]) * cutoff).clamp(-SINC_WIDTH, SINC_WIDTH)
    window = torch.cos(time * math.pi / SINC_WIDTH / 2) ** 2
    kernels = torch.sinc(time) * window * (cutoff / down)
    return kernels[:, None].float(), width


@lru_cache(maxsize=16)
def mel_filters(
    *,
    bins: int,
    mels: int,
    low: float,
    high: float,
    rate: int,
    scale: Literal["slaney", "htk", "kaldi"],
    normed: bool,
    in_mel_space: bool = False,
) -> np.ndarray:
    """Mel triangles `bin mel`, float64.

    Args:
        bins: bins of the spectrum, from 0 Hz to half of `rate`.
        low: Hz at which the lowest triangle starts.
        high: Hz at which the highest triangle ends.
        normed: whether each triangle has the same area (Slaney) or the same height.
        in_mel_space: whether triangles are straight over mels rather than over Hz.
    """
    from transformers.audio_utils import mel_filter_bank

    return np.asarray(
        mel_filter_bank(
            num_frequency_bins=bins,
            num_mel_filters=mels,
            min_frequency=low,
            max_frequency=high,
            sampling_rate=rate,
            norm="slaney" if normed else None,
            mel_scale=scale,
            triangularize_in_mel_space=in_mel_space,
        )
    )
