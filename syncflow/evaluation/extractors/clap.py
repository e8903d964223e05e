"""CLAP: sound and text in one space (LAION), run by transformers; its own files and laion_clap's.

Sound shorter than 10 s is repeated a whole number of times, then padded with zeros: 2 s at 48 kHz are five
repeats without silence. Each clip goes through alone, for the fused models pick a random clip of a batch
to be treated as a long one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncflow.errors import UserError
from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.settings import ClapCheckpoint, ClapSettings
from syncflow.evaluation.extractors.waveforms import waveform_at
from syncflow.evaluation.extractors.weight_files import (
    MissingWeightsError,
    WeightFile,
    find,
    published_model,
    read,
)
from syncflow.hashing import file_sha256

RATE, SECONDS = 48_000, 10
LONGEST_TEXT = 77  # tokens
LOWEST_HZ = 50  # transformers' own default of 0 Hz is not what the models were trained with
NORM_EPSILON = 1e-5  # of RoBERTa in laion's files; transformers' ClapTextConfig says 1e-12


@dataclass(frozen=True, kw_only=True)
class Model:
    """A published CLAP."""

    file: WeightFile
    fused: bool
    base: bool = False  # HTSAT-base rather than HTSAT-tiny

    @property
    def folder(self) -> bool:
        """Whether it is a folder of transformers rather than one file of laion_clap."""
        return self.file.name.endswith("/")


LICENCE = "Apache-2.0"
MODELS: dict[ClapCheckpoint, Model] = {
    "clap-htsat-unfused": Model(
        file=WeightFile(
            name="clap-htsat-unfused/",
            source="hf.co/laion/clap-htsat-unfused",
            licence=LICENCE,
            megabytes=614,
        ),
        fused=False,
    ),
    "clap-htsat-fused": Model(
        file=WeightFile(
            name="clap-htsat-fused/", source="hf.co/laion/clap-htsat-fused", licence=LICENCE, megabytes=615
        ),
        fused=True,
    ),
    "630k-audioset-fusion-best": Model(
        file=WeightFile(
            name="630k-audioset-fusion-best.pt",
            source="hf.co/lukewys/laion_clap",
            licence="CC0 code, weights as published",
            megabytes=None,
        ),
        fused=True,
    ),
    "music_speech_audioset_epoch_15_esc_89.98": Model(
        file=WeightFile(
            name="music_speech_audioset_epoch_15_esc_89.98.pt",
            source="hf.co/lukewys/laion_clap",
            licence="CC0 code, weights as published",
            megabytes=None,
        ),
        fused=False,
        base=True,
    ),
}
TOKENIZER = WeightFile(
    name="roberta-base/", source="hf.co/roberta-base (tokenizer only)", licence="MIT", megabytes=2
)


def feature_extractor(*, fused: bool) -> Any:
    """transformers' front end with the models' lowest frequency."""
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(frequency_min=LOWEST_HZ, truncation="fusion" if fused else "rand_trunc")


def rounded_to_int16(audio: np.ndarray) -> np.ndarray:
    """The samples as a 16-bit file holds them, towards zero; float32 again."""
    return (np.clip(audio, -1.0, 1.0) * 32767.0).astype(np.int16).astype(np.float32) / np.float32(32767.0)


def log_mel(audio: np.ndarray, extractor: Any) -> Tensor:
    """Sound at 48 kHz, its first 10 s -> `view 1001 64`, dB; four equal views for a fused model."""
    found = extractor(audio[: SECONDS * RATE], sampling_rate=RATE, return_tensors="pt")
    return found["input_features"][0].float()


def laion_config(*, fused: bool, base: bool, **text: Any) -> Any:
    """The configuration of a laion_clap file.

    Args:
        text: changes to the text tower, of ClapTextConfig's names.
    """
    from transformers import ClapConfig

    audio: dict[str, Any] = {"enable_fusion": fused}
    if fused:
        audio |= {"fusion_type": "aff_2d", "enable_patch_fusion": True}
    if base:
        audio |= {
            "patch_embeds_hidden_size": 128,
            "hidden_size": 1024,
            "depths": [2, 2, 12, 2],
            "num_attention_heads": [4, 8, 16, 32],
        }
    return ClapConfig(text_config={"layer_norm_eps": NORM_EPSILON, **text}, audio_config=audio)


IGNORED = r"spectrogram_extractor|logmel_extractor|attn_mask|tscam_conv|\.head\.|_transform\.|token_type_ids"
COMPUTED = ("position_ids", "token_type_ids", "relative_position_index")  # by transformers itself


def transformers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A laion_clap state dict by transformers' names; what transformers computes or lacks is left out."""
    found: dict[str, Tensor] = {}
    for original, tensor in tensors.items():
        name = original.removeprefix("module.")
        if re.search(IGNORED, name) or name.endswith("position_ids"):
            continue
        name = re.sub(r"^text_branch\.", "text_model.", name)
        name = re.sub(r"^audio_branch\.", "audio_model.audio_encoder.", name)
        name = re.sub(r"^(text|audio)_projection\.0\.", r"\1_projection.linear1.", name)
        name = re.sub(r"^(text|audio)_projection\.2\.", r"\1_projection.linear2.", name)
        if name.startswith("audio_model."):
            for old, new in (
                (r"audio_encoder\.bn0\.", "audio_encoder.batch_norm."),
                (r"blocks\.(\d+)\.norm1\.", r"blocks.\1.layernorm_before."),
                (r"blocks\.(\d+)\.norm2\.", r"blocks.\1.layernorm_after."),
                (r"\.attn\.proj\.", ".attention.output.dense."),
                (r"\.mlp\.fc1\.", ".intermediate.dense."),
                (r"\.mlp\.fc2\.", ".output.dense."),
            ):
                name = re.sub(old, new, name)
            if ".attn.qkv." in name:
                for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    found[name.replace(".attn.qkv.", f".attention.self.{part}.")] = piece.contiguous()
                continue
            name = name.replace(".attn.", ".attention.self.")
        found[name] = tensor
    return found


class Clap:
    """A CLAP model, shared by its extractors of sound and of text.

    Args:
        model: transformers' ClapModel.
        tokenizer: of its text tower; None where only sound is embedded.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, weights_sha256: str, settings: ClapSettings, device: str
    ) -> None:
        self.model, self.tokenizer, self.device = model.to(device), tokenizer, device
        self.settings, self.fused = settings, MODELS[settings.checkpoint].fused
        self.features = feature_extractor(fused=self.fused)
        self.identity: dict[str, Any] = {
            "weights": MODELS[settings.checkpoint].file.name,
            "weights_sha256": weights_sha256,
            "lowest_hz": LOWEST_HZ,
            "longer_than_10_s": "cut at 10 s",
            **settings.model_dump(mode="json"),
        }

    @classmethod
    def load(cls, folder: Path, *, settings: ClapSettings | None = None, device: str = "cpu") -> "Clap":
        """With the weights and the tokenizer in `folder`.

        Raises:
            MissingWeightsError: they are not there.
            UserError: the weights are not of this model.
        """
        from transformers import AutoTokenizer, ClapModel

        settings = settings or ClapSettings()
        spec = MODELS[settings.checkpoint]
        if spec.folder:
            model, sha256 = published_model(ClapModel, spec.file, folder)
            words = folder / spec.file.name
        else:
            path = find(spec.file, folder)
            config = laion_config(fused=spec.fused, base=spec.base)
            model = with_clap_weights(config, read(path), source=str(path))
            sha256, words = file_sha256(path), folder / TOKENIZER.name
        if not words.is_dir():
            raise MissingWeightsError(TOKENIZER, folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(words, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{words}: no tokenizer can be read there ({reason})") from None
        return cls(model.eval(), tokenizer, weights_sha256=sha256, settings=settings, device=device)

    @torch.inference_mode()
    def embed_audio(self, audio: np.ndarray) -> np.ndarray:
        """Sound at 48 kHz -> `512`, of length 1."""
        if self.settings.round_to_int16:
            audio = rounded_to_int16(audio)
        mel = log_mel(audio, self.features)[None].to(self.device)
        longer = torch.tensor([[self.fused]], device=self.device)
        return self.model.get_audio_features(mel, is_longer=longer).pooler_output[0].cpu().numpy()

    @torch.inference_mode()
    def embed_tokens(self, tokens: Tensor, mask: Tensor) -> np.ndarray:
        """Token ids and mask `b l` -> `b 512`, of length 1."""
        found = self.model.get_text_features(tokens.to(self.device), attention_mask=mask.to(self.device))
        return found.pooler_output.cpu().numpy()


def with_clap_weights(config: Any, tensors: Mapping[str, Tensor], *, source: str) -> Any:
    """ClapModel with a laion_clap state dict.

    Raises:
        UserError: its names or shapes are not those of `config`.
    """
    from transformers import ClapModel

    model = ClapModel(config)
    renamed = transformers_names(tensors)
    expected = {n: v for n, v in model.state_dict().items() if not n.endswith(COMPUTED)}
    wrong = sorted({*expected} ^ {*renamed}) or [n for n in expected if expected[n].shape != renamed[n].shape]
    if wrong:
        raise UserError(
            f"{source}: not this CLAP's weights: {', '.join(wrong[:3])} differ ({len(wrong)} in all)"
        )
    model.load_state_dict(renamed, strict=False)
    return model.eval().requires_grad_(False)


class ClapAudio:
    """`embedding`: `512`, of length 1."""

    name = "clap_audio"
    modality: Modality = "audio"
    outputs = ("embedding",)

    def __init__(self, clap: Clap) -> None:
        self.clap, self.identity = clap, clap.identity

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        rate, resampler = RATE, self.clap.settings.resampler
        return [{"embedding": self.clap.embed_audio(waveform_at(clip, rate, resampler))} for clip in clips]


class ClapText:
    """`embedding`: `512`, of length 1."""

    name = "clap_text"
    modality: Modality = "text"
    outputs = ("embedding",)

    def __init__(self, clap: Clap) -> None:
        self.clap, self.identity = clap, clap.identity

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        texts = [clip.text for clip in clips]
        found = self.clap.tokenizer(
            texts, padding=True, truncation=True, max_length=LONGEST_TEXT, return_tensors="pt"
        )
        embeddings = self.clap.embed_tokens(found["input_ids"], found["attention_mask"])
        return [{"embedding": embedding} for embedding in embeddings]
