"""Which material a clip shows, and which it sounds like: two small classifiers, trained on drawn clips."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy import signal
from torch import Tensor, nn

SIDE = 16  # pixels of the reduced frames that the video classifier reads
BANDS = 40  # of the sound's spectrum, logarithmic
STEPS, RATE = 600, 3e-3


def video_features(frames: np.ndarray) -> np.ndarray:
    """The median frame of a clip, uint8 `f h w c`, reduced: float32 `k` in [-1, 1]."""
    still = np.median(frames, axis=0).astype(np.uint8)
    small = Image.fromarray(still).resize((SIDE, SIDE), Image.Resampling.BOX)
    return (np.asarray(small, dtype=np.float32) / 127.5 - 1.0).ravel()


def audio_features(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean spectra around the loudest instant, at it and after it: float32 `k`, no absolute level."""
    _, _, power = signal.spectrogram(audio, sample_rate, nperseg=1024, noverlap=512)
    edges = np.geomspace(2, power.shape[0], BANDS + 1).round().astype(int)
    bands = np.stack([power[a : max(b, a + 1)].mean(0) for a, b in itertools.pairwise(edges)])
    level = 10 * np.log10(bands + 1e-12)  # bands, hops of 10.7 ms
    level = np.maximum(level, level.max() - 70.0) - level.max()
    peak = int(bands.sum(0).argmax())
    later = [level[:, min(peak + hop, level.shape[1] - 1)] for hop in (0, 3, 8, 16, 28)]
    return (np.concatenate(later) / 35.0 + 1.0).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A classifier of features."""

    model: nn.Module
    names: tuple[str, ...]

    @torch.no_grad()
    def __call__(self, features: Sequence[np.ndarray]) -> list[str]:
        """The likeliest name for each row of features."""
        rows = self.model(torch.from_numpy(np.stack(features)))
        return [self.names[int(index)] for index in rows.argmax(1)]

    def accuracy(self, features: Sequence[np.ndarray], labels: Sequence[str]) -> float:
        """Share of the rows whose name is right."""
        return float(np.mean([a == b for a, b in zip(self(features), labels, strict=True)]))


@torch.enable_grad()
def train_probe(features: Sequence[np.ndarray], labels: Sequence[str], *, seed: int = 0) -> Probe:
    """Two hidden layers on standardised features."""
    names = tuple(sorted(set(labels)))
    x = torch.from_numpy(np.stack(features))
    y = torch.tensor([names.index(label) for label in labels])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            _Standardise(x),
            *(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, len(names))),
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
        for _ in range(STEPS):
            chosen = torch.randint(len(x), (64,))
            noisy = x[chosen] + 0.05 * torch.randn(len(chosen), x.shape[1])
            loss = nn.functional.cross_entropy(model(noisy), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Probe(model=model.eval(), names=names)


class _Standardise(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("std", rows.std(0).clamp_min(1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
