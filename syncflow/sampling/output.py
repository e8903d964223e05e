"""Latents -> frames and audio, in the form that a caller wants."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.pixels import video_to_frames
from syncflow.records import AVLatents, ClipSpec

OutputType = Literal["np", "pt", "latent"]
OUTPUT_TYPES: tuple[str, ...] = get_args(OutputType)


@dataclass
class SyncFlowOutput(BaseOutput):
    """One entry a clip; None for a modality that was not made."""

    frames: np.ndarray | Tensor | None
    """`np`: uint8 b f h w c; `pt`: float32 b c f h w, about [-1, 1]; `latent`: float32 b c t h w."""
    audio: np.ndarray | Tensor | None
    """`np`, `pt`: float32 b m, about [-1, 1]; `latent`: float32 b n d."""


def decode_video(vae: VideoVAE, latents: Tensor, spec: ClipSpec) -> Tensor:
    """Video `b c f h w`, clip by clip."""
    return torch.cat([vae.decode(z[None], num_frames=spec.num_frames) for z in latents])


def decode_audio(vae: AudioVAE, latents: Tensor, spec: ClipSpec) -> Tensor:
    """Audio `b m`, clip by clip."""
    return torch.cat([vae.decode(z[None], num_samples=spec.num_samples) for z in latents])


def as_output(video: Tensor | None, audio: Tensor | None, output_type: OutputType) -> SyncFlowOutput:
    """Decoded tensors as they are (`pt`), or as numpy arrays (`np`).

    Args:
        output_type: see `SyncFlowOutput`.
    """
    if output_type == "pt":
        return SyncFlowOutput(frames=video, audio=audio)
    return SyncFlowOutput(
        frames=None if video is None else video_to_frames(video),
        audio=None if audio is None else audio.cpu().numpy(),
    )


def as_latents(x_1: AVLatents) -> SyncFlowOutput:
    """The latents themselves."""
    return SyncFlowOutput(frames=x_1.video, audio=x_1.audio)
