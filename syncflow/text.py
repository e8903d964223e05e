"""T5: captions -> token embeddings, stored once a caption and never recomputed in training.

The large presets take the encoder of Open-Sora v1.2 (T5 v1.1 XXL) from the hub. The tiny one is the
same class, built from a seed with a byte tokenizer that needs no files: it tells prompts apart, and
the adaptors of the towers learn what they mean.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    BitsAndBytesConfig,
    ByT5Tokenizer,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
)

from syncflow.config import dump_config, load_config
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.pretrained import load_whole
from syncflow.text_config import TextConfig
from syncflow.weight_files import conversion_command, refuse_pickled

SETTINGS = "text_encoder.yaml"


class TextEncoder:
    """A T5 encoder and its tokenizer.

    Args:
        config: where the weights come from, and the longest prompt.
        device: where the encoder runs.

    Raises:
        UserError: `config.location` is neither a saved encoder nor a name that the hub knows.
    """

    def __init__(self, config: TextConfig, *, device: str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self.model, self.tokenizer = _build(config) if not config.location else _load(config)
        self.model.eval().requires_grad_(False).to(self.device)  # type: ignore[arg-type]

    @property
    def width(self) -> int:
        """Width `e` of a token's embedding."""
        return self.model.config.d_model

    @cached_property
    def sha256(self) -> str:
        """Content hash of the weights and of what cuts and rounds the prompts."""
        weights = tensors_sha256(self.model.named_parameters())
        return hashlib.sha256(f"{weights}|{self.config.max_tokens}|{self.config.dtype}".encode()).hexdigest()

    @torch.inference_mode()
    def encode(self, captions: list[str]) -> list[np.ndarray]:
        """Embeddings of the valid tokens: one float16 `l e` a caption, 1 <= l <= max_tokens.

        Each caption runs by itself, so its embedding does not depend on its neighbours: equal captions
        have equal bytes in every dataset.
        """
        return [self._encode_one(caption) for caption in captions]

    def _encode_one(self, caption: str) -> np.ndarray:
        tokens = self.tokenizer(
            caption, max_length=self.config.max_tokens, truncation=True, return_tensors="pt"
        ).to(self.device)
        hidden = self.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        embedding = hidden.last_hidden_state[0].to(torch.float16).cpu().numpy()  # l e
        if not np.isfinite(embedding).all():
            raise FloatingPointError(f"the text encoder gives NaN or Inf in float16 for {caption!r}")
        return embedding

    def save_pretrained(self, folder: Path) -> None:
        """Weights (safetensors), tokenizer and settings; `from_pretrained` reads them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        dump_config(self.config.model_copy(update={"location": "."}), Path(folder) / SETTINGS)

    @classmethod
    def from_pretrained(cls, folder: Path, *, device: str = "cpu") -> "TextEncoder":
        """The encoder that `save_pretrained` wrote to `folder`."""
        config = load_config(TextConfig, Path(folder) / SETTINGS)
        return cls(config.model_copy(update={"location": str(folder)}), device=device)


def _build(config: TextConfig) -> tuple[T5EncoderModel, PreTrainedTokenizerBase]:
    tokenizer = ByT5Tokenizer(extra_ids=0)
    shape = T5Config(
        vocab_size=len(tokenizer),
        d_model=config.width,
        d_kv=config.width // config.heads,
        d_ff=2 * config.width,
        num_layers=config.layers,
        num_heads=config.heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = T5EncoderModel(shape)
    return model.to(getattr(torch, config.dtype)), tokenizer


def _load(config: TextConfig) -> tuple[T5EncoderModel, PreTrainedTokenizerBase]:
    refuse_pickled(config.location, setting="text.location")
    try:
        eight_bit = config.dtype == "int8"
        model = load_whole(
            T5EncoderModel,
            config.location,
            dtype=torch.bfloat16 if eight_bit else getattr(torch, config.dtype),
            quantization_config=BitsAndBytesConfig(load_in_8bit=True) if eight_bit else None,
        )
        return model, AutoTokenizer.from_pretrained(config.location)
    except (OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"text.location {config.location!r}: cannot load a T5 encoder ({reason}); give a saved folder "
            "or a hub name, with `pip install syncflow[t5]` for its tokenizer and int8; where the hub has it "
            f"pickled alone (.bin), run {conversion_command(config.location)} and give FOLDER"
        ) from None
