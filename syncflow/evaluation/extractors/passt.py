"""PaSST: AudioSet logits from a patch transformer (Koutini et al. 2022).

Padding 2 s of sound with zeros to 10 s changes its logits entirely, so padding is a setting of the protocol.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import PasstSettings
from syncflow.evaluation.extractors.waveforms import mel_filters, waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, load

FILE = WeightFile(
    name="passt-s-f128-p16-s10-ap.476-swa.pt",
    source="github.com/kkoutini/PaSST (release v0.0.1-audioset)",
    licence="Apache-2.0",
    megabytes=345,
)
RATE = 32_000
SPECTRUM, WINDOW, HOP, MELS = 1024, 800, 320, 128
HIGH_HZ = 15_000.0
PRE_EMPHASIS = 0.97
PATCH, STRIDE, WIDTH, HEADS, DEPTH, CLASSES = 16, 10, 768, 12, 12, 527
SHORTEST_S, LONGEST_S = 0.2, 10.0


class PasstBlock(nn.Module):
    """Pre-norm self-attention and MLP, by timm's names."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).view(b, n, 3, HEADS, WIDTH // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each b head n e
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.attn["proj"](mixed.transpose(1, 2).reshape(b, n, WIDTH))
        return x + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))


class Passt(nn.Module):
    """A ViT over 16 x 16 patches with stride 10, with separate positions of frequency and time."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, WIDTH))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, WIDTH, 12, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, WIDTH, 1, 99))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, WIDTH, PATCH, STRIDE)})
        self.blocks = nn.ModuleList([PasstBlock() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))
        self.head_dist = nn.Linear(WIDTH, CLASSES)  # in the file, and not used

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """`b 128 t`, t at most 998 -> embedding `b 768` and logits `b 527`."""
        patches = self.patch_embed["proj"](mel[:, None])  # b e f t
        patches = patches + self.time_new_pos_embed[..., : patches.shape[-1]] + self.freq_new_pos_embed
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        x = torch.cat([tokens.expand(len(mel), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        embedding = self.norm(x)[:, :2].mean(1)
        return embedding, self.head(embedding)


def log_mel(audio: Tensor) -> Tensor:
    """Waveforms `b m` at 32 kHz -> `b 128 t`."""
    emphasised = audio[:, 1:] - PRE_EMPHASIS * audio[:, :-1]
    window = torch.hann_window(WINDOW, periodic=False, device=audio.device)
    spectrum = (
        torch.stft(emphasised, SPECTRUM, HOP, WINDOW, window=window, return_complex=True).abs().square()
    )  # b bin t
    filters = mel_filters(
        bins=SPECTRUM // 2 + 1,
        mels=MELS,
        low=0.0,
        high=HIGH_HZ,
        rate=RATE,
        scale="kaldi",
        normed=False,
        in_mel_space=True,
    )
    mel = torch.from_numpy(filters.T.copy()).to(spectrum) @ spectrum
    return ((mel + 1e-5).log() + 4.5) / 5.0


class PasstExtractor:
    """`logits`: `527`; `embedding`: `768`."""

    name = "passt"
    modality: Modality = "audio"
    outputs = ("logits", "embedding")

    def __init__(self, model: Passt, *, weights_sha256: str, settings: PasstSettings, device: str) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            **settings.model_dump(mode="json"),
        }

    @classmethod
    def load(
        cls, folder: Path, *, settings: PasstSettings | None = None, device: str = "cpu"
    ) -> "PasstExtractor":
        """With the weights in `folder`.

        Raises:
            MissingWeightsError: they are not there.
        """
        model, sha256 = load(Passt, FILE, folder)
        return cls(model, weights_sha256=sha256, settings=settings or PasstSettings(), device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, RATE, self.settings.resampler)
            audio = np.pad(audio, (0, max(0, round(self.settings.pad_to_s * RATE) - len(audio))))
            seconds = len(audio) / RATE
            if not SHORTEST_S <= seconds <= LONGEST_S:
                found.append(Refused(reason=f"length: {seconds:.2f} s of sound, PaSST takes 0.2 to 10 s"))
                continue
            embedding, logits = self.model(log_mel(torch.from_numpy(audio)[None].to(self.device)))
            found.append({"logits": logits[0].cpu().numpy(), "embedding": embedding[0].cpu().numpy()})
        return found
