"""aiSFX: an embedding of sound effects and their classes (Hagen et al., ISMIR 2022).

An open backbone that the package index serves. Its numbers are named after it, and never FAD or CLAP.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.panns import Block
from syncflow.evaluation.extractors.settings import Resampler
from syncflow.evaluation.extractors.waveforms import mel_filters, waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, load

FILE = WeightFile(
    name="aisfx.safetensors",
    source="package aisfx 0.1.2 (checkpoint.pth)",
    licence="CC BY 4.0",
    megabytes=25,
    fetched=True,
)
RATE, SPECTRUM, HOP, MELS, FRAMES = 44_100, 2048, 1024, 96, 100
LOG_GAIN, LOG_SCALE = 1e4, 9.457798957824707
CHANNELS = (64, 128, 256, 512)
CLASSES = 69  # of its head ucsMixed
HEAD = "fc.2."


class AiSfx(nn.Module):
    """Four convolution blocks, an embedding, and the head of 69 sound effect classes."""

    def __init__(self) -> None:
        super().__init__()
        blocks = {}
        width = 1
        for place, channels in enumerate(CHANNELS, start=1):
            blocks[f"conv_block{place}"] = Block(width, channels, pool=1 if place == len(CHANNELS) else 2)
            width = channels
        self.embedding_net = nn.ModuleDict(blocks)
        self.head = nn.Sequential(
            nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, CLASSES)
        )

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """`b t 96` -> embedding `b 512` and logits `b 69`."""
        x = mel[:, None]
        for block in self.embedding_net.values():
            pool: Any = block.pool
            block.pool = 1  # type: ignore[assignment]
            x = functional.max_pool2d(block(x), pool)
            block.pool = pool
        embedding = x.mean(-1).amax(-1)
        return embedding, self.head(embedding)


def log_mel(audio: np.ndarray) -> np.ndarray:
    """Sound at 44.1 kHz, divided by its peak -> `frame 96`, float32; of a silent sound zeros."""
    peak = np.abs(audio).max()
    wave = torch.from_numpy(audio.astype(np.float64) / (peak if peak > 0 else 1.0))
    window = torch.hann_window(SPECTRUM, dtype=torch.float64)
    spectrum = (
        torch.stft(wave, SPECTRUM, HOP, window=window, pad_mode="constant", return_complex=True)
        .abs()
        .square()
    )
    filters = mel_filters(
        bins=SPECTRUM // 2 + 1, mels=MELS, low=0.0, high=RATE / 2, rate=RATE, scale="htk", normed=False
    )
    filters = filters / np.maximum(filters.sum(0, keepdims=True), 1e-12)
    mel = filters.T @ spectrum.numpy()
    return (np.log10(LOG_GAIN * mel.T + 1.0) / LOG_SCALE).astype(np.float32)


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The embedding and the one head that is used."""
    found = {name: value for name, value in tensors.items() if name.startswith("embedding_net.")}
    heads = {name: value for name, value in tensors.items() if name.startswith(HEAD)}
    return found | {name.replace(HEAD, "head."): value for name, value in heads.items()}


class AiSfxExtractor:
    """`embedding`: `512`; `logits`: `69` classes of sound effects."""

    name = "aisfx"
    modality: Modality = "audio"
    outputs = ("embedding", "logits")

    def __init__(
        self, model: AiSfx, *, weights_sha256: str, resampler: Resampler = "sinc", device: str = "cpu"
    ) -> None:
        self.model, self.device = model.to(device), device
        self.resampler: Resampler = resampler
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "resampler": resampler,
            "pad_to_frames": FRAMES,
        }

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "AiSfxExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        model, sha256 = load(AiSfx, FILE, folder, rename=network_tensors)
        return cls(model, weights_sha256=sha256, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, RATE, self.resampler)
            if len(audio) < HOP:
                found.append(Refused(reason=f"too_short: {len(audio)} samples of sound, aiSFX needs {HOP}"))
                continue
            mel = log_mel(audio)
            mel = np.pad(mel, ((0, max(0, FRAMES - len(mel))), (0, 0)))
            embedding, logits = self.model(torch.from_numpy(mel)[None].to(self.device))
            found.append({"embedding": embedding[0].cpu().numpy(), "logits": logits[0].cpu().numpy()})
        return found
