"""Frames as images (uint8 `f h w c`), and as the video VAE has them (float32 `b c f h w` in [-1, 1])."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from syncflow.errors import UserError


def frames_to_video(frames: np.ndarray | Tensor | Sequence[np.ndarray]) -> Tensor:
    """uint8 frames `f h w c` or `b f h w c` as a float32 video `b c f h w` in [-1, 1].

    Raises:
        UserError: another type or shape, or no frames.
    """
    array = np.asarray(frames)
    if array.dtype != np.uint8 or array.ndim not in (4, 5) or array.shape[-1] != 3:
        raise UserError(
            f"video: got {array.dtype}{list(array.shape)}; expected uint8 frames f h w 3 or b f h w 3, "
            "or float latents b c t h w"
        )
    if not array.size:
        raise UserError(f"video {list(array.shape)}: has no frames; give at least one")
    batch = torch.from_numpy(np.ascontiguousarray(array)).reshape(-1, *array.shape[-4:])
    return scaled(batch)


def scaled(frames: Tensor) -> Tensor:
    """uint8 `b f h w c` or `f h w c` as float32 `b c f h w` or `f c h w` in [-1, 1], on its device."""
    return frames.movedim(-1, 1).float() / 127.5 - 1.0


def video_to_frames(video: Tensor) -> np.ndarray:
    """A float video `b c f h w` in [-1, 1] as uint8 frames `b f h w c`; what is outside is clipped."""
    levels = ((video.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).movedim(1, -1).cpu().numpy()
