"""What of a clip's entry in its source's tables reaches a row, besides the file's own bytes."""

from typing import Any

from preprocessing.config import CaptionConfig
from syncflow.records import ClipRef


def offered_texts(ref: ClipRef, config: CaptionConfig) -> list[Any]:
    """What the captions of a clip are taken from: nothing where a model writes them."""
    if config.by_model:
        return []
    if config.kind == "label":
        return [ref.label]
    return [list(ref.window_captions), ref.caption or ref.label, bool(ref.caption)]


def caption_of(ref: ClipRef, index: int, config: CaptionConfig) -> tuple[str, str]:
    """A window's caption from what came with the clip, and its source; both empty where there is none."""
    of_window = ref.window_captions[index] if index < len(ref.window_captions) else ""
    offers = [("label", ref.label), ("fallback", config.fallback)]
    if config.kind == "manifest":
        offers = [("manifest", of_window), ("manifest", ref.caption), *offers]
    return next(((" ".join(text.split()), name) for name, text in offers if text.strip()), ("", ""))
