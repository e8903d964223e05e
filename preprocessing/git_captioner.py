"""GIT (arXiv 2205.14100), trained on VATEX, as a captioner of a few frames."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, GitForCausalLM, PreTrainedTokenizerBase

from preprocessing.config import CaptionConfig
from syncflow.errors import UserError
from syncflow.pretrained import load_whole

# of the images that CLIP, GIT's eye, was trained on (transformers: OPENAI_CLIP_MEAN and _STD)
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


class GitCaptioner:
    """Writes a caption of each few frames, all in one batch.

    Args:
        model: a GIT for video, on its device.
        tokenizer: the model's.
        max_tokens: longest caption.
    """

    def __init__(self, model: GitForCausalLM, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int) -> None:
        self.model, self.tokenizer, self.max_tokens = model.eval(), tokenizer, max_tokens
        self.size: int = model.config.vision_config.image_size  # type: ignore[attr-defined]

    @torch.inference_mode()
    def __call__(self, videos: list[np.ndarray]) -> list[str]:
        """A caption of each; frames `f h w c`, uint8."""
        pixels = torch.stack([self._pixels(frames) for frames in videos]).to(self.model.device)
        written = self.model.generate(  # type: ignore[attr-defined]
            pixel_values=pixels.to(self.model.dtype), max_new_tokens=self.max_tokens, do_sample=False
        )
        return self.tokenizer.batch_decode(written, skip_special_tokens=True)

    def _pixels(self, frames: np.ndarray) -> Tensor:
        """Frames `f h w c` as the model takes them: `f c size size`, normalised."""
        images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255  # f c h w
        rows, columns = images.shape[2:]
        scale = self.size / min(rows, columns)
        size = [max(self.size, round(rows * scale)), max(self.size, round(columns * scale))]
        images = functional.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        images = images[:, :, top : top + self.size, left : left + self.size]
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        return (images - mean) / std


def load_git(config: CaptionConfig, *, device: str) -> GitCaptioner:
    """A GIT and its tokenizer from a folder or the hub.

    Raises:
        OSError, ValueError: there is none, or its weights are another model's.
        UserError: it takes no video, or not so many frames.
    """
    model = load_whole(GitForCausalLM, config.location)
    tokenizer = AutoTokenizer.from_pretrained(config.location)
    most = model.config.num_image_with_embedding
    if not most or config.frames > most:
        takes = f"takes {most} frames, caption.frames is {config.frames}" if most else "takes single images"
        raise UserError(f"caption.model {config.location!r}: {takes}; give one for video (git-base-vatex)")
    return GitCaptioner(model.to(device), tokenizer, max_tokens=config.max_tokens)  # type: ignore[arg-type]
