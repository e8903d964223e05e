"""VGGish: the embedding of FAD (Hershey et al. 2017; PyTorch weights of harritaylor/torchvggish).

The front end is float64: 25 ms magnitude spectra every 10 ms, 64 mel bands, log; examples of 96 frames
(0.96 s) without overlap. FAD takes the embedding before the last ReLU and before any PCA.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import VGGishSettings
from syncflow.evaluation.extractors.waveforms import mel_filters, waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, load

FILE = WeightFile(
    name="vggish-10086976.pth",
    source="github.com/harritaylor/torchvggish (release v0.1)",
    licence="Apache-2.0",
    megabytes=289,
)
RATE = 16_000
WINDOW, HOP, SPECTRUM = 400, 160, 512  # samples
MELS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 0.01
EXAMPLE = 96  # frames
SHORTEST = WINDOW + (EXAMPLE - 1) * HOP  # 15,600 samples, 0.975 s


class VGGish(nn.Module):
    """Six convolutions and three linear layers, by the public names.

    Args:
        channels: of the six convolutions.
        hidden: width of the first two linear layers.
        features: width of the embedding.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 256, 512, 512),
        hidden: int = 4096,
        features: int = 128,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for place, channel in enumerate(channels):
            layers += [nn.Conv2d(width, channel, 3, padding=1), nn.ReLU()]
            width = channel
            if place not in (2, 4):  # the pairs of 256 and of 512 share a pool
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = width * (EXAMPLE // 16) * (MELS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
        )

    def forward(self, examples: Tensor) -> Tensor:
        """`b 1 96 64` -> `b feature`, before the last ReLU."""
        maps = self.features(examples)  # b c t f
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))


def examples(audio: np.ndarray) -> np.ndarray:
    """Log-mel examples of a mono waveform at 16 kHz: `n 1 96 64`, float32; none under 15,600 samples."""
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    spectrum = np.abs(np.fft.rfft(frames * window, SPECTRUM))
    filters = mel_filters(
        bins=SPECTRUM // 2 + 1,
        mels=MELS,
        low=LOW_HZ,
        high=HIGH_HZ,
        rate=RATE,
        scale="kaldi",
        normed=False,
        in_mel_space=True,
    )
    log_mel = np.log(spectrum @ filters + LOG_OFFSET)
    count = len(log_mel) // EXAMPLE
    return log_mel[: count * EXAMPLE].reshape(count, 1, EXAMPLE, MELS).astype(np.float32)


class VGGishExtractor:
    """`embedding`: `example 128`, one for each whole 0.96 s of sound."""

    name = "vggish"
    modality: Modality = "audio"
    outputs = ("embedding",)

    def __init__(self, model: VGGish, *, weights_sha256: str, settings: VGGishSettings, device: str) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "output": "embedding before the last ReLU, no PCA",
            **settings.model_dump(mode="json"),
        }

    @classmethod
    def load(
        cls, folder: Path, *, settings: VGGishSettings | None = None, device: str = "cpu"
    ) -> "VGGishExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        model, sha256 = load(VGGish, FILE, folder)
        return cls(model, weights_sha256=sha256, settings=settings or VGGishSettings(), device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, RATE, self.settings.resampler)
            if self.settings.remove_dc:
                audio = audio - audio.mean()
            audio = np.pad(audio, (0, max(0, round(self.settings.pad_to_s * RATE) - len(audio))))
            if len(audio) < SHORTEST:
                found.append(
                    Refused(reason=f"too_short: {len(audio) / RATE:.3f} s of sound, VGGish needs 0.975 s")
                )
                continue
            batch = torch.from_numpy(examples(audio)).to(self.device)
            found.append({"embedding": self.model(batch).cpu().numpy()})
        return found
