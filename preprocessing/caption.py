"""DecodedClip -> CaptionedClip: from the label, from the source's captions, or by a model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from huggingface_hub import snapshot_download

from preprocessing.config import CaptionConfig
from preprocessing.keys import caption_of
from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.records import CaptionedClip, ClipRef, DecodedClip, Dropped
from syncflow.weight_files import conversion_command, refuse_pickled

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")  # weights, settings, tokenizer
NO_FOLDERS = ("*/*",)

CaptionStep = Callable[[list[DecodedClip]], list[CaptionedClip | Dropped]]
Captioner = Callable[[list[np.ndarray]], list[str]]  # a few frames `f h w c` each -> a caption each
T = TypeVar("T")


def build_caption_step(config: CaptionConfig, *, device: str) -> CaptionStep:
    """The step of `config.kind`.

    Raises:
        UserError: the captioning model cannot be loaded.
    """
    if not config.by_model:
        return SourceCaptionStep(config)
    return ModelCaptionStep(config, load_captioner(config, device=device))


def load_captioner(config: CaptionConfig, *, device: str) -> Captioner:
    """The model of `config.kind`, on its device.

    Raises:
        UserError: there is none at `config.model`, or it takes no video.
    """
    if config.kind == "git":
        from preprocessing.git_captioner import load_git as load
    else:
        from preprocessing.qwen_captioner import load_qwen as load
    return _of_model(config, partial(load, config, device=device))


def captioner_weights(config: CaptionConfig) -> str:
    """Hash of the captioning model's files; empty where no model writes the captions.

    Raises:
        UserError: there is none at `config.model`.
    """
    return _of_model(config, partial(captioner_sha256, config)) if config.by_model else ""


def _of_model(config: CaptionConfig, ask: Callable[[], T]) -> T:
    refuse_pickled(config.location, setting="caption.model")
    try:
        return ask()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"caption.model {config.location!r}: cannot be loaded ({reason}); give the folder or hub name of "
            f"a {config.kind} model, or set caption.kind to label or manifest; where the hub has it "
            f"pickled alone (.bin), run {conversion_command(config.location)} and give FOLDER"
        ) from None


class SourceCaptionStep:
    """What came with the clip: `label`, its class; `manifest`, the caption of each window, or of the clip,
    or its label. `caption_source` says which of these the first window got.
    """

    def __init__(self, config: CaptionConfig) -> None:
        self.config = config

    def __call__(self, batch: list[DecodedClip]) -> list[CaptionedClip | Dropped]:
        return [self._caption(clip) for clip in batch]

    def _caption(self, clip: DecodedClip) -> CaptionedClip | Dropped:
        found = [caption_of(clip.ref, window.index, self.config) for window in clip.windows]
        if not all(caption for caption, _ in found):
            return no_caption(clip.ref, clip.source_sha256)
        captions = tuple(caption for caption, _ in found)
        return CaptionedClip(clip=clip, captions=captions, caption_source=found[0][1])


class ModelCaptionStep:
    """A model looks at a few frames, of each window or of the whole clip, and writes the caption.

    A window's own two seconds are the default: the paper's Appendix A.1 finds captions of whole clips that
    name sounds outside the window.

    Args:
        config: number of frames, span, batch size.
        captioner: the model.
    """

    def __init__(self, config: CaptionConfig, captioner: Captioner) -> None:
        self.config, self.captioner = config, captioner

    def __call__(self, batch: list[DecodedClip]) -> list[CaptionedClip | Dropped]:
        videos = [frames for clip in batch for frames in self._frames(clip)]
        size = self.config.batch
        parts = (self.captioner(videos[start : start + size]) for start in range(0, len(videos), size))
        written = iter([" ".join(caption.split()) for part in parts for caption in part])
        return [self._captioned(clip, [next(written) for _ in self._frames(clip)]) for clip in batch]

    def _frames(self, clip: DecodedClip) -> list[np.ndarray]:
        """What the model looks at, for each caption: evenly spaced frames `f h w c`."""
        if self.config.span == "clip":
            assert clip.overview is not None, "the decoder was not told that captions are of whole clips"
            return [clip.overview]
        at = np.linspace(0, len(clip.windows[0].frames) - 1, self.config.frames).round().astype(int)
        return [window.frames[at] for window in clip.windows]

    def _captioned(self, clip: DecodedClip, captions: list[str]) -> CaptionedClip | Dropped:
        if self.config.span == "clip":
            captions = captions * len(clip.windows)
        if not all(captions) and not self.config.fallback:
            told = f"{self.config.kind} wrote nothing; set caption.fallback"
            return no_caption(clip.ref, clip.source_sha256, detail=told)
        told = tuple(caption or self.config.fallback for caption in captions)
        return CaptionedClip(
            clip=clip, captions=told, caption_source=self.config.kind if captions[0] else "fallback"
        )


NO_CAPTION = "no_caption"


def no_caption(
    ref: ClipRef,
    source_sha256: str,
    *,
    detail: str = "its source has no caption; set caption.fallback, or caption.kind git or qwen3-vl",
) -> Dropped:
    """A clip that is rejected, for nothing gives it a caption."""
    return Dropped(ref=ref, kind="rejected", reason=NO_CAPTION, detail=detail, source_sha256=source_sha256)


def captioner_sha256(config: CaptionConfig) -> str:
    """One hash of the names and bytes of the model's files; the model is not loaded.

    Raises:
        OSError, ValueError: there is no such folder or model.
    """
    folder = Path(config.location)
    if not folder.is_dir():
        found = snapshot_download(
            config.location, allow_patterns=list(PATTERNS), ignore_patterns=list(NO_FOLDERS)
        )
        folder = Path(found)
    files = sorted({path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()})
    if not any(path.suffix == ".safetensors" for path in files):
        raise ValueError(f"{folder}: no safetensors")
    return settings_sha256({path.name: file_sha256(path) for path in files})
