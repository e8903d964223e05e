"""DecodedClip -> CaptionedClip: from the label, from the source's captions, or by a model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, GitForCausalLM, PreTrainedTokenizerBase

from preprocessing.config import CaptionConfig
from syncflow.errors import UserError
from syncflow.records import CaptionedClip, ClipRef, DecodedClip, Dropped

# of the images that CLIP, GIT's eye, was trained on (transformers: OPENAI_CLIP_MEAN and _STD)
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)

CaptionStep = Callable[[list[DecodedClip]], list[CaptionedClip | Dropped]]


def build_caption_step(config: CaptionConfig, *, device: str) -> CaptionStep:
    """The step of `config.kind`.

    Raises:
        UserError: the captioning model cannot be loaded.
    """
    if config.kind == "git":
        model, tokenizer = load_git(config.model)
        return GitCaptionStep(config, model=model.to(device), tokenizer=tokenizer)  # type: ignore[arg-type]
    return SourceCaptionStep(config)


class SourceCaptionStep:
    """What came with the clip: `label`, its class; `manifest`, the caption of each window, or of the clip,
    or its label. `caption_source` says which of these the first window got.
    """

    def __init__(self, config: CaptionConfig) -> None:
        self.config = config

    def __call__(self, batch: list[DecodedClip]) -> list[CaptionedClip | Dropped]:
        return [self._caption(clip) for clip in batch]

    def _caption(self, clip: DecodedClip) -> CaptionedClip | Dropped:
        found = [self._of_window(clip.ref, window.index) for window in clip.windows]
        if not all(caption for caption, _ in found):
            return Dropped(
                ref=clip.ref,
                kind="rejected",
                reason="no_caption",
                detail="its source has no caption; set caption.fallback, or caption.kind git",
                source_sha256=clip.source_sha256,
            )
        captions = tuple(caption for caption, _ in found)
        return CaptionedClip(clip=clip, captions=captions, caption_source=found[0][1])

    def _of_window(self, ref: ClipRef, index: int) -> tuple[str, str]:
        """Caption and its source."""
        of_window = ref.window_captions[index] if index < len(ref.window_captions) else ""
        offers = [("label", ref.label), ("fallback", self.config.fallback)]
        if self.config.kind == "manifest":
            offers = [("manifest", of_window), ("manifest", ref.caption), *offers]
        return next(((" ".join(text.split()), name) for name, text in offers if text.strip()), ("", ""))


class GitCaptionStep:
    """GIT (arXiv 2205.14100) looks at a few frames of each window and writes its caption.

    Each window is captioned by its own two seconds: the paper's Appendix A.1 finds captions of whole
    clips that name sounds outside the window.

    Args:
        config: number of frames, longest caption, batch size.
        model: a GIT for video, on its device.
        tokenizer: the model's.
    """

    def __init__(
        self, config: CaptionConfig, *, model: GitForCausalLM, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.model = model.eval()
        self.size: int = model.config.vision_config.image_size

    def __call__(self, batch: list[DecodedClip]) -> list[CaptionedClip | Dropped]:
        frames = [window.frames for clip in batch for window in clip.windows]
        size = self.config.batch
        parts = (self._write(frames[start : start + size]) for start in range(0, len(frames), size))
        captions = iter([caption for part in parts for caption in part])
        return [
            CaptionedClip(
                clip=clip, captions=tuple(next(captions) for _ in clip.windows), caption_source="git"
            )
            for clip in batch
        ]

    @torch.inference_mode()
    def _write(self, windows: list[np.ndarray]) -> list[str]:
        pixels = torch.stack([self._pixels(frames) for frames in windows]).to(self.model.device)
        written = self.model.generate(
            pixel_values=pixels.to(self.model.dtype), max_new_tokens=self.config.max_tokens, do_sample=False
        )
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _pixels(self, frames: np.ndarray) -> Tensor:
        """Evenly spaced frames `f h w c` as the model takes them: `f c size size`, normalised."""
        at = np.linspace(0, len(frames) - 1, self.config.frames).round().astype(int)
        chosen = torch.from_numpy(frames[at]).permute(0, 3, 1, 2).float() / 255  # f c h w
        rows, columns = chosen.shape[2:]
        scale = self.size / min(rows, columns)
        size = [max(self.size, round(rows * scale)), max(self.size, round(columns * scale))]
        chosen = functional.interpolate(chosen, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        chosen = chosen[:, :, top : top + self.size, left : left + self.size]
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        return (chosen - mean) / std


def load_git(location: str) -> tuple[GitForCausalLM, PreTrainedTokenizerBase]:
    """A GIT and its tokenizer from a folder or the hub.

    Raises:
        UserError: there is none, or it takes no video.
    """
    try:
        model = GitForCausalLM.from_pretrained(location, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(location)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"caption.model {location!r}: cannot be loaded ({reason}); give the folder or hub name of a GIT, "
            "or set caption.kind to label or manifest"
        ) from None
    if not model.config.num_image_with_embedding:
        raise UserError(
            f"caption.model {location!r}: takes single images; give one for video (git-base-vatex)"
        )
    return model, tokenizer
