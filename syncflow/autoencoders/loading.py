"""Load an autoencoder's folder strictly: every tensor of the model, none else, each of its shape."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.open_sora_vae import load_open_sora_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.places import not_a_folder

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


def load_video_vae(
    location: str, *, dtype: torch.dtype = torch.float32, setting: str = "video_vae"
) -> VideoVAE:
    """A video VAE from a folder (ours or in Open-Sora's format), or by its name on the Hugging Face hub.

    Raises:
        UserError: neither is there, or it does not fit; `setting` is what the message tells to change.
    """
    folder = Path(location)
    if not folder.is_dir():
        folder = download(location, setting=setting)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{setting} {location!r}: no readable config.json ({error})") from None
    if config.get("_class_name") == VideoVAE.__name__:
        return load_vae(VideoVAE, folder, dtype=dtype)
    vae = load_open_sora_vae(folder)
    torch.nn.Module.to(vae, dtype=dtype)
    return vae.eval()


def download(name: str, *, setting: str, patterns: Sequence[str] = ("*.json", "*.safetensors")) -> Path:
    """The files of `name` on the Hugging Face hub, weights as safetensors only; from the cache if there.

    Args:
        patterns: file names to take, as globs.

    Raises:
        UserError: the hub does not give it; `setting` is what the message tells to change.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (OSError, HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{setting} {name!r}: {not_a_folder(name)}, and the hub does not give it ({reason})"
        ) from None
