"""VGGish-ish: 309 VGGSound classes, the one public classifier of VGG's shape (Iashin and Rahtu 2021)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import VGGishishSettings
from syncflow.evaluation.extractors.waveforms import mel_filters, waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, find, load, read
from syncflow.hashing import settings_sha256

SOURCE = "github.com/v-iashin/SpecVQGAN"
FILE = WeightFile(name="vggishish16.pt", source=SOURCE, licence="MIT", megabytes=551)
STATISTICS = WeightFile(
    name="train_means_stds_melspec_10s_22050hz.txt", source=SOURCE, licence="MIT", megabytes=1
)
RATE, SECONDS = 22_050, 10
SPECTRUM, HOP, MELS = 1024, 256, 80
LOW_HZ, HIGH_HZ = 125.0, 7600.0
FRAMES, CROPPED = 860, 848
CLASSES = 309
CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: a max-pool


class VGGishish(nn.Module):
    """VGG16 without its last pool on a mel spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for channels in CHANNELS:
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()] if channels else [nn.MaxPool2d(2)]
            width = channels or width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(width * 5 * 10, 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, CLASSES),
        )

    def forward(self, mel: Tensor) -> Tensor:
        """`b 80 848`, standardised -> logits `b 309`."""
        maps = functional.adaptive_avg_pool2d(self.features(mel[:, None]), (5, 10))
        return self.classifier(maps.flatten(1))


def mel_spectrogram(audio: np.ndarray) -> np.ndarray:
    """Sound at 22.05 kHz, cut or padded with zeros to 10 s -> `80 860` in [0, 1], float32."""
    audio = np.pad(audio[: SECONDS * RATE], (0, max(0, SECONDS * RATE - len(audio))))
    window = torch.hann_window(SPECTRUM, dtype=torch.float64)
    wide = torch.from_numpy(audio.astype(np.float64))
    spectrum = torch.stft(
        wide, SPECTRUM, HOP, window=window, pad_mode="constant", return_complex=True
    ).abs()  # bin frame
    filters = mel_filters(
        bins=SPECTRUM // 2 + 1, mels=MELS, low=LOW_HZ, high=HIGH_HZ, rate=RATE, scale="slaney", normed=True
    )
    decibels = 20.0 * np.log10(np.maximum(filters.T @ spectrum.numpy(), 1e-5))
    return np.clip((decibels - 20.0 + 100.0) / 100.0, 0.0, 1.0)[:, :FRAMES].astype(np.float32)


def standardised(mel: np.ndarray, means: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """Each band by its mean and deviation; the middle 848 frames.

    Args:
        mel: mel spectrogram, `band frame`.
        means: of each band.
        stds: deviation of each band.
    """
    start = (FRAMES - CROPPED) // 2
    return ((mel - means[:, None]) / stds[:, None])[:, start : start + CROPPED]


class VGGishishExtractor:
    """`logits`: `309`.

    Args:
        statistics: `means` and `stds` of the 80 bands over the training set.
    """

    name = "vggishish"
    modality: Modality = "audio"
    outputs = ("logits",)

    def __init__(
        self,
        model: VGGishish,
        statistics: Mapping[str, np.ndarray],
        *,
        weights_sha256: str,
        settings: VGGishishSettings,
        device: str,
    ) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        self.means, self.stds = statistics["means"], statistics["stds"]
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "statistics": settings_sha256([self.means.tolist(), self.stds.tolist()]),
            **settings.model_dump(mode="json"),
        }

    @classmethod
    def load(
        cls, folder: Path, *, settings: VGGishishSettings | None = None, device: str = "cpu"
    ) -> "VGGishishExtractor":
        """With the weights and the bands' statistics in `folder`.

        Raises:
            MissingWeightsError: one of them is not there.
        """
        text = folder / STATISTICS.name
        if text.is_file():
            table = np.loadtxt(text, dtype=np.float32)  # a row a band: its mean and its deviation
            statistics = {"means": table[:, 0], "stds": table[:, 1]}
        else:
            statistics = {name: value.numpy() for name, value in read(find(STATISTICS, folder)).items()}
        model, sha256 = load(VGGishish, FILE, folder)
        settings = settings or VGGishishSettings()
        return cls(model, statistics, weights_sha256=sha256, settings=settings, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            mel = mel_spectrogram(waveform_at(clip, RATE, self.settings.resampler))
            batch = torch.from_numpy(standardised(mel, self.means, self.stds))[None].to(self.device)
            found.append({"logits": self.model(batch)[0].cpu().numpy()})
        return found
