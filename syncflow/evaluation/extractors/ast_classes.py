"""AST: AudioSet logits of the Audio Spectrogram Transformer (Gong et al. 2021), run by transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import AstSettings
from syncflow.evaluation.extractors.waveforms import waveform_at
from syncflow.evaluation.extractors.weight_files import WeightFile, published_model

FILE = WeightFile(
    name="ast-finetuned-audioset-10-10-0.4593/",
    source="hf.co/MIT/ast-finetuned-audioset-10-10-0.4593",
    licence="BSD-3-Clause",
    megabytes=346,
)
RATE, SHORTEST = 16_000, 400  # Hz; samples of one frame
FRAMES, MELS = 1024, 128
MEAN, DEVIATION = -4.2677393, 4.5689974  # the front end divides by twice the deviation


def spectrogram(audio: np.ndarray) -> torch.Tensor:
    """Sound at 16 kHz -> `1 1024 128`, padded with zeros to 10.24 s before it is standardised."""
    from transformers import ASTFeatureExtractor

    extractor = ASTFeatureExtractor(max_length=FRAMES, num_mel_bins=MELS, mean=MEAN, std=DEVIATION)
    return extractor(audio, sampling_rate=RATE, return_tensors="pt")["input_values"]


class AstExtractor:
    """`logits`: `527`.

    Args:
        model: transformers' ASTForAudioClassification.
    """

    name = "ast"
    modality: Modality = "audio"
    outputs = ("logits",)

    def __init__(self, model: Any, *, weights_sha256: str, settings: AstSettings, device: str) -> None:
        self.model, self.settings, self.device = model.to(device).eval(), settings, device
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": weights_sha256,
            "pad_to_frames": FRAMES,
            **settings.model_dump(mode="json"),
        }

    @classmethod
    def load(
        cls, folder: Path, *, settings: AstSettings | None = None, device: str = "cpu"
    ) -> "AstExtractor":
        """With the published model's folder in `folder`.

        Raises:
            MissingWeightsError: it is not there.
            UserError: it is of another model.
        """
        from transformers import ASTForAudioClassification

        model, sha256 = published_model(ASTForAudioClassification, FILE, folder)
        return cls(model, weights_sha256=sha256, settings=settings or AstSettings(), device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, RATE, self.settings.resampler)
            if len(audio) < SHORTEST:
                found.append(
                    Refused(reason=f"too_short: {len(audio) / RATE:.3f} s of sound, AST needs 0.025 s")
                )
                continue
            logits = self.model(spectrogram(audio).to(self.device)).logits
            found.append({"logits": logits[0].cpu().numpy()})
        return found
