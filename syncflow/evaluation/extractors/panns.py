"""PANNs Cnn14: AudioSet logits for KL, and a 2048-d embedding (Kong et al. 2020)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import PannsSettings, PannsVariant
from syncflow.evaluation.extractors.waveforms import mel_filters, waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, load

MELS, CLASSES = 64, 527
CHANNELS = (64, 128, 256, 512, 1024, 2048)
FEWEST = 32  # frames of the spectrogram, of which five halvings leave none


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """One variant's spectrogram."""

    file: WeightFile
    rate: int  # Hz
    window: int  # samples
    hop: int
    low_hz: float
    high_hz: float


SOURCE, LICENCE = "zenodo.org/record/3987831", "CC BY 4.0, code MIT"
VARIANTS: dict[PannsVariant, FrontEnd] = {
    "Cnn14_16k": FrontEnd(
        file=WeightFile(name="Cnn14_16k_mAP=0.438.pth", source=SOURCE, licence=LICENCE, megabytes=327),
        rate=16_000,
        window=512,
        hop=160,
        low_hz=50.0,
        high_hz=8000.0,
    ),
    "Cnn14_32k": FrontEnd(
        file=WeightFile(name="Cnn14_mAP=0.431.pth", source=SOURCE, licence=LICENCE, megabytes=327),
        rate=32_000,
        window=1024,
        hop=320,
        low_hz=50.0,
        high_hz=14_000.0,
    ),
}


class Block(nn.Module):
    """Two convolutions, then an average pool."""

    def __init__(self, width: int, channels: int, *, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))
        return functional.avg_pool2d(x, self.pool)


class Cnn14(nn.Module):
    """The network behind the spectrogram, by the public names."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(MELS)
        width = 1
        for place, channels in enumerate(CHANNELS, start=1):
            pool = 1 if place == len(CHANNELS) else 2
            self.add_module(f"conv_block{place}", Block(width, channels, pool=pool))
            width = channels
        self.fc1 = nn.Linear(width, width)
        self.fc_audioset = nn.Linear(width, CLASSES)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """`b t 64`, dB -> embedding `b 2048` and logits `b 527`."""
        x = self.bn0(log_mel[:, None].transpose(1, 3)).transpose(1, 3)  # b 1 t mel
        for place in range(1, len(CHANNELS) + 1):
            x = self.get_submodule(f"conv_block{place}")(x)
        x = x.mean(-1)  # b c t
        embedding = functional.relu(self.fc1(x.amax(-1) + x.mean(-1)))
        return embedding, self.fc_audioset(embedding)


def log_mel(audio: Tensor, variant: PannsVariant) -> Tensor:
    """Waveforms `b m` at the variant's rate -> `b t 64`, dB."""
    front = VARIANTS[variant]
    window = torch.hann_window(front.window, device=audio.device)
    spectrum = torch.stft(audio, front.window, front.hop, window=window, return_complex=True).abs().square()
    filters = torch.from_numpy(mel_matrix(variant)).to(spectrum)
    return 10.0 * torch.log10((spectrum.transpose(1, 2) @ filters).clamp(min=1e-10))


def mel_matrix(variant: PannsVariant) -> np.ndarray:
    """Slaney's triangles `bin mel`."""
    front = VARIANTS[variant]
    return mel_filters(
        bins=front.window // 2 + 1,
        mels=MELS,
        low=front.low_hz,
        high=front.high_hz,
        rate=front.rate,
        scale="slaney",
        normed=True,
    )


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors but for its spectrogram's constants, which are computed here."""
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    constants = ("spectrogram_extractor.", "logmel_extractor.")
    return {name: tensor for name, tensor in bare.items() if not name.startswith(constants)}


class PannsExtractor:
    """`logits`: `527`; `embedding`: `2048`, after its ReLU."""

    name = "panns"
    modality: Modality = "audio"
    outputs = ("logits", "embedding")

    def __init__(self, model: Cnn14, *, weights_sha256: str, settings: PannsSettings, device: str) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        self.identity: dict[str, Any] = {
            "weights": VARIANTS[settings.variant].file.name,
            "weights_sha256": weights_sha256,
            **settings.model_dump(mode="json"),
        }

    @classmethod
    def load(
        cls, folder: Path, *, settings: PannsSettings | None = None, device: str = "cpu"
    ) -> "PannsExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        settings = settings or PannsSettings()
        model, sha256 = load(Cnn14, VARIANTS[settings.variant].file, folder, rename=network_tensors)
        return cls(model, weights_sha256=sha256, settings=settings, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        front = VARIANTS[self.settings.variant]
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, front.rate, self.settings.resampler)
            if len(audio) < FEWEST * front.hop:
                found.append(
                    Refused(reason=f"too_short: {len(audio) / front.rate:.3f} s of sound, Cnn14 needs 0.32 s")
                )
                continue
            spectrogram = log_mel(torch.from_numpy(audio)[None].to(self.device), self.settings.variant)
            embedding, logits = self.model(spectrogram)
            found.append({"logits": logits[0].cpu().numpy(), "embedding": embedding[0].cpu().numpy()})
        return found
