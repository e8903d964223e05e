"""Discriminators of audio: each looks at the complex spectrogram of one window length.

The multi-scale STFT discriminator of EnCodec (arXiv:2210.13438, Section 3.4), with the hinge loss; features
of all layers but the last are matched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2  # of the leaky ReLU


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one discriminator says of a batch of audio: above 0 is real."""

    logits: Tensor  # b 1 frame band
    features: list[Tensor]  # b c frame band of each layer


class STFTDiscriminator(nn.Module):
    """2-D convolutions over frame and frequency; dilated in time, strided in frequency.

    Args:
        dilations: of each layer, along time.
    """

    window: Tensor

    def __init__(self, *, n_fft: int, filters: int, dilations: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        layers = [_conv(2, filters, kernel=(3, 8))]
        layers += [_conv(filters, filters, kernel=(3, 8), stride=(1, 2), dilation=(d, 1)) for d in dilations]
        layers.append(_conv(filters, filters, kernel=(3, 3)))
        self.layers = nn.ModuleList(layers)
        self.judge = _conv(filters, 1, kernel=(3, 3))

    def forward(self, audio: Tensor) -> Judgement:
        """Score waveforms `b m`."""
        spectrum = torch.stft(
            audio.float(),
            self.n_fft,
            hop_length=self.n_fft // 4,
            window=self.window,
            normalized=True,
            return_complex=True,
        )
        hidden = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # b band frame 2 -> b 2 frame band
        features = []
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), SLOPE)
            features.append(hidden)
        return Judgement(logits=self.judge(hidden), features=features)


class MultiScaleDiscriminator(nn.Module):
    """One discriminator a window length, in samples."""

    def __init__(self, *, windows: Sequence[int] = (2048, 1024, 512, 256, 128), filters: int = 32) -> None:
        super().__init__()
        self.scales = nn.ModuleList(STFTDiscriminator(n_fft=n, filters=filters) for n in windows)

    def forward(self, audio: Tensor) -> list[Judgement]:
        """The scores of each scale on waveforms `b m`."""
        return [scale(audio) for scale in self.scales]


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Hinge: real waveforms above 1, generated ones below -1; mean over scales."""
    terms = [
        F.relu(1.0 - r.logits.float()).mean() + F.relu(1.0 + m.logits.float()).mean()
        for r, m in zip(real, made, strict=True)
    ]
    return torch.stack(terms).mean()


def adversarial_loss(made: Sequence[Judgement]) -> Tensor:
    """What the decoder minimises: minus the logits of what it made; mean over scales."""
    return -torch.stack([m.logits.float().mean() for m in made]).mean()


def feature_matching_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """L1 distance of the features, relative to the size of the real ones; mean over layers and scales."""
    terms = [
        (y.float() - x.detach().float()).abs().mean() / x.detach().float().abs().mean().clamp_min(1e-8)
        for r, m in zip(real, made, strict=True)
        for x, y in zip(r.features, m.features, strict=True)
    ]
    return torch.stack(terms).mean()


def _conv(
    channels: int,
    out: int,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Module:
    padding = ((kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) * dilation[1] // 2)
    return weight_norm(nn.Conv2d(channels, out, kernel, stride=stride, dilation=dilation, padding=padding))
