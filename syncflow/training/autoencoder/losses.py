"""Reconstruction losses of the autoencoders: multi-scale log-mel for audio, L1 and MSE for both.

Scales and weights after EnCodec's recipe; the mel filters are built here, because torchaudio has no build
that matches every torch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mel_filters(num_mels: int, *, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular filters `mel bin` of equal height, spaced evenly on the mel scale from 0 Hz to Nyquist."""
    top = 2595.0 * math.log10(1.0 + sample_rate / 2 / 700.0)
    corners = 700.0 * (10.0 ** (torch.linspace(0.0, top, num_mels + 2) / 2595.0) - 1.0)  # Hz
    bins = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    low, peak, high = (corners[i : num_mels + i, None] for i in range(3))
    return torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)).clamp_min(0.0)


class MelScale(nn.Module):
    """Magnitude mel spectrogram at one window length, scaled so that a full-scale sine is about 1."""

    window: Tensor
    filters: Tensor

    def __init__(self, *, n_fft: int, num_mels: int, sample_rate: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        window = torch.hann_window(n_fft)
        filters = mel_filters(num_mels, n_fft=n_fft, sample_rate=sample_rate) * (2.0 / window.sum())
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """`b mel frame` of audio `b m`."""
        spectrum = torch.stft(
            audio, self.n_fft, hop_length=self.n_fft // 4, window=self.window, return_complex=True
        )
        return self.filters @ spectrum.abs()


class MultiScaleMelLoss(nn.Module):
    """Mean over window lengths of the L1 distance of mel magnitudes and of their logarithms.

    Short windows hold attacks in place, long ones pitch. `floor` is the magnitude under which differences
    hardly count (3e-3 is about -50 dB of full scale): lower, and room noise, which nothing can predict,
    outweighs the audio. `linear_weight` is that of the magnitudes against their logarithms.

    Args:
        bins_per_mel: least number of frequency bins of a mel band.
        max_mels: most bands of a spectrogram.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        windows: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
        bins_per_mel: int = 4,
        max_mels: int = 80,
        floor: float = 3e-3,
        linear_weight: float = 20.0,
    ) -> None:
        super().__init__()
        self.floor, self.linear_weight = floor, linear_weight
        self.scales = nn.ModuleList(
            MelScale(
                n_fft=n, num_mels=min(max_mels, max(5, n // (2 * bins_per_mel))), sample_rate=sample_rate
            )
            for n in windows
        )

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """Scalar distance of two waveforms `b m`."""
        total = made.new_zeros(())
        for scale in self.scales:
            x, y = scale(made), scale(target)
            logarithms = ((x + self.floor).log() - (y + self.floor).log()).abs().mean()
            total = total + self.linear_weight * (x - y).abs().mean() + logarithms
        return total / len(self.scales)
