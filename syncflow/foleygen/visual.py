"""Features of single frames: CLIP, EfficientNet-Lite0, or the 2-D part of the video VAE."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncflow.autoencoders.loading import download, load_video_vae
from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import default_folder
from syncflow.evaluation.extractors.efficientnet import FILE, EfficientNetLite0, pixels
from syncflow.evaluation.extractors.weight_files import load
from syncflow.foleygen.config import VisualConfig
from syncflow.hashing import tensors_sha256
from syncflow.pixels import scaled
from syncflow.pretrained import load_whole

DEFAULT_CLIP = "openai/clip-vit-base-patch32"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VisualEncoder:
    """Features float32 `f d` of frames uint8 `f h w c`.

    Args:
        module: what computes them, in evaluation mode.
        prepare: frames to what the module takes.
        features: what of the module's answer is taken.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        prepare: Callable[[np.ndarray], Tensor],
        features: Callable[[nn.Module, Tensor], Tensor],
        config: VisualConfig,
    ) -> None:
        self.module = module.eval().requires_grad_(False)
        self.prepare, self.features, self.config = prepare, features, config
        self.sha256 = tensors_sha256(module.state_dict())

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        chosen, step = frames[:: self.config.every], self.config.batch
        device = next(self.module.parameters()).device
        parts = [
            self.features(self.module, self.prepare(chosen[first : first + step]).to(device)).float().cpu()
            for first in range(0, len(chosen), step)
        ]
        return torch.cat(parts).numpy()


def load_visual(config: VisualConfig, *, device: str = "cpu") -> VisualEncoder:
    """The encoder that the settings ask for.

    Raises:
        UserError: no such weights.
    """
    if config.kind == "efficientnet":
        model, _ = load(
            EfficientNetLite0, FILE, Path(config.location) if config.location else default_folder()
        )
        return VisualEncoder(
            model.to(device), prepare=pixels, features=lambda module, x: module(x)[0], config=config
        )
    if config.kind == "video_vae":
        vae = load_video_vae(config.location, setting="visual.location")
        vae.to(device)  # type: ignore[arg-type]
        return VisualEncoder(vae, prepare=_signed, features=_frame_latents, config=config)
    return _clip(config, device)


def _clip(config: VisualConfig, device: str) -> VisualEncoder:
    from transformers import CLIPVisionModelWithProjection

    name = config.location or DEFAULT_CLIP
    folder = Path(name) if Path(name).is_dir() else download(name, setting="visual.location")
    try:
        model = load_whole(CLIPVisionModelWithProjection, folder)
    except (OSError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"visual.location {name}: no CLIP model ({told}); give a folder or hub id of one"
        ) from None
    size = model.config.image_size
    assert isinstance(size, int), size
    return VisualEncoder(
        model.to(device),  # type: ignore[arg-type]
        prepare=lambda frames: clip_pixels(frames, size=size),
        features=lambda module, x: module(pixel_values=x).image_embeds,
        config=config,
    )


def clip_pixels(frames: np.ndarray, *, size: int) -> Tensor:
    """uint8 `f h w 3` to CLIP's `f 3 size size`: short side to `size` (bicubic), centre crop, normalised."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0
    height, width = video.shape[2:]
    short = min(height, width)
    to = (max(size, round(height * size / short)), max(size, round(width * size / short)))
    if to != (height, width):
        video = F.interpolate(video, size=to, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    top, left = (to[0] - size) // 2, (to[1] - size) // 2
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (video[:, :, top : top + size, left : left + size] - mean) / std


def _signed(frames: np.ndarray) -> Tensor:
    """uint8 `f h w 3` to `f 3 h w` in [-1, 1]."""
    return scaled(torch.from_numpy(np.ascontiguousarray(frames)))


def _frame_latents(vae: nn.Module, frames: Tensor) -> Tensor:
    """The frame latents `f d`, flat: where things are is kept."""
    latents = vae.encode_frames(frames.unsqueeze(2))  # type: ignore[operator]  # f c 1 h w
    return latents.flatten(1)
