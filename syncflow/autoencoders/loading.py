"""Load an autoencoder's folder strictly: every tensor of the model, none else, each of its shape."""

import json
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError

V = TypeVar("V", VideoVAE, AudioVAE)


def load_vae(cls: type[V], folder: Path, *, dtype: torch.dtype = torch.float32) -> V:
    """A `cls` in eval mode from a folder that `save_pretrained` wrote, in `dtype` on the CPU.

    Raises:
        UserError: no such folder, the folder of another class, a truncated file, or weights that do not fit.
    """
    name = f"{cls.__name__} {folder}"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    except (OSError, SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error}); train it anew or copy the folder again") from None
    if config.get("_class_name") != cls.__name__:
        raise UserError(f"{name}: holds a {config.get('_class_name')}; give the folder of a {cls.__name__}")
    try:
        vae = cls(**{key: value for key, value in config.items() if not key.startswith("_")})
        vae.load_state_dict(tensors, strict=True)
    except (TypeError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"{name}: config.json and weights do not fit ({told}); copy the folder again"
        ) from None
    torch.nn.Module.to(vae, dtype=dtype)  # diffusers' own `to` warns of casts; ours are meant
    return vae.eval()
