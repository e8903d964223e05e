"""What an autoencoder makes of a stored window, in the types that people hold."""

import numpy as np
import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.training.autoencoder.segments import to_video


@torch.no_grad()
def reconstruct(
    vae: AudioVAE | VideoVAE, window: np.ndarray, *, generator: torch.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`(original, reconstruction)`: frames uint8 `f h w c`, or sound float32 `m`.

    Args:
        generator: draws the latents; without one they are the posterior's mode.
    """
    where = next(vae.parameters()).device
    if isinstance(vae, AudioVAE):
        sound = window.astype(np.float32)
        made, _ = vae(torch.from_numpy(sound)[None].to(where), generator)
        return sound, made[0].cpu().numpy()
    made, _ = vae(to_video(window[None]).to(where), generator)
    levels = ((made[0].clamp(-1, 1) + 1.0) * 127.5).round().byte()
    return np.array(window), levels.permute(1, 2, 3, 0).cpu().numpy()
