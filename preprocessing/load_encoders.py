"""The three models of a dataset, from where the settings say."""

import json
from pathlib import Path

import torch

from preprocessing.config import EncodeConfig
from preprocessing.encode import Encoders
from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae
from syncflow.autoencoders.open_sora_vae import load_open_sora_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.text import TextEncoder


def load_encoders(config: EncodeConfig) -> Encoders:
    """Load the models onto the device of the settings.

    Raises:
        UserError: a folder or hub name that holds no such model, or no GPU where one is asked for.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("encode.device: cuda, and torch sees no GPU; use cpu or auto")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, config.dtype)
    video_vae = load_video_vae(config.video_vae, dtype=dtype)
    audio_vae = load_vae(AudioVAE, Path(config.audio_vae), dtype=dtype)
    for vae in (video_vae, audio_vae):
        vae.eval().requires_grad_(False)
        torch.nn.Module.to(vae, device=device)
    return Encoders(video_vae=video_vae, audio_vae=audio_vae, text=TextEncoder(config.text, device=device))


def load_video_vae(location: str, *, dtype: torch.dtype = torch.float32) -> VideoVAE:
    """A video VAE from a folder (ours or in Open-Sora's format), or from the Hugging Face hub.

    Raises:
        UserError: neither is there.
    """
    folder = Path(location)
    if not folder.is_dir():
        folder = _download(location)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"encode.video_vae {location!r}: no readable config.json ({error})") from None
    if config.get("_class_name") == VideoVAE.__name__:
        return load_vae(VideoVAE, folder, dtype=dtype)
    vae = load_open_sora_vae(folder)
    torch.nn.Module.to(vae, dtype=dtype)
    return vae


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"encode.video_vae {name!r}: no such folder, and the hub does not give it ({reason})"
        ) from None
