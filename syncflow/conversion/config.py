"""Settings of `pipelines/convert_weights.py`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from syncflow.config import Config
from syncflow.places import Place


class ConvertConfig(Config):
    """Weights of one format in, weights of another out."""

    source: Place
    """Folder, file or Hugging Face hub id of the weights."""
    output: Path
    """Folder of the converted weights; for a single file also a name that ends with .safetensors."""
    to: Literal["safetensors", "open_sora", "syncflow"] = "safetensors"
    """`safetensors`: pickled files (pytorch_model.bin, sharded or not, .pt, .pth, .ckpt) as safetensors, with
    the configuration and tokenizer files beside them; safetensors are copied. `open_sora`: the video tower of
    a trained checkpoint as STDiT3, or a video VAE, in the files that Open-Sora v1.2 reads. `syncflow`: an
    Open-Sora v1.2 VAE as a video VAE folder of ours."""
    entry: str = ""
    """With `to: safetensors`: dotted keys of the tensors inside a pickled file, for example ema or
    best_state.model; empty: found, where there is only one such place."""
    memory_gib: float = Field(default=0.0, ge=0)
    """With `to: safetensors`: memory limit of the process that reads pickled files, GiB; 0: three times the
    largest file plus 2 GiB."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """With `to: safetensors`: time limit for reading all files, seconds."""
