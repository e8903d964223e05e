"""The three models of a dataset, from where the settings say."""

from pathlib import Path

import torch

from preprocessing.config import EncodeConfig
from preprocessing.encode import Encoders
from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae, load_video_vae
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
    video_vae = load_video_vae(config.video_vae, dtype=dtype, setting="encode.video_vae")
    audio_vae = load_vae(AudioVAE, Path(config.audio_vae), dtype=dtype)
    for vae in (video_vae, audio_vae):
        vae.eval().requires_grad_(False)
        torch.nn.Module.to(vae, device=device)
    return Encoders(video_vae=video_vae, audio_vae=audio_vae, text=TextEncoder(config.text, device=device))
