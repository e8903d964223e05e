"""What a caller may ask of a pipeline: every refusal is one line with the remedy."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from syncflow.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MAX_PROMPT_CHARACTERS = 5_000
"""Several times what any text encoder here reads; beyond it a prompt is a mistake, as a whole file."""

Modalities = Literal["both", "video", "audio"]


def check_prompts(prompts: Sequence[str], *, name: str = "prompt") -> list[str]:
    """The prompts without outer blanks.

    Raises:
        UserError: no prompt, not text, empty, or endless.
    """
    if not prompts:
        raise UserError(f"{name}: none given; give at least one line of text")
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise UserError(f"{name} {number}: got {type(prompt).__name__}; expected text")
        if not prompt.strip():
            raise UserError(f"{name} {number}: empty; say what is to be seen and heard")
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            raise UserError(
                f"{name} {number}: {len(prompt)} characters; shorten it to {MAX_PROMPT_CHARACTERS}"
            )
    return [prompt.strip() for prompt in prompts]


def check_size(height: int, width: int, *, strides: tuple[int, int]) -> None:
    """Raises UserError unless `height`, `width` are multiples of `strides`; it names the nearest that are."""
    sizes = (height, width)
    if all(size > 0 and size % stride == 0 for size, stride in zip(sizes, strides, strict=True)):
        return
    near = [
        max(stride, stride * math.floor(size / stride + 0.5))
        for size, stride in zip(sizes, strides, strict=True)
    ]
    raise UserError(
        f"size {height} x {width} pixels: expected multiples of {strides[0]} rows and {strides[1]} columns; "
        f"the nearest valid size is {near[0]} x {near[1]}"
    )


def check_given(
    modalities: Modalities, *, video: bool, audio: bool, strength: float, solved: Collection[str]
) -> None:
    """Raises UserError unless what is given (`video`, `audio`) suits what is made.

    `solved` are the modalities that the solver follows: what is made, and what that depends on.
    """
    if audio and modalities == "video":
        raise UserError("modalities video with a sound given: leave the sound out, or ask for both")
    if isinstance(strength, bool) or not 0 < strength <= 1:
        raise UserError(
            f"strength: got {strength!r}; expected more than 0 and at most 1 (1 starts from noise)"
        )
    missing = [name for name, there in (("video", video), ("audio", audio)) if name in solved and not there]
    if strength < 1 and missing:
        raise UserError(
            f"strength {strength:g}: editing starts from what is given, and no {missing[0]} is; give it, "
            "ask for the other modality alone, or leave strength at 1"
        )


def check_count(name: str, value: int) -> None:
    """Raises UserError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name}: got {value!r}; expected a whole number of at least 1")


def check_latents(name: str, latents: "Tensor", *, shape: tuple[int, ...], batch: int | None) -> None:
    """Raises UserError unless `latents` are `b *shape`, of `batch` clips where that is given."""
    if tuple(latents.shape[1:]) != shape or (batch is not None and latents.shape[0] != batch):
        expected = ["batch" if batch is None else batch, *shape]
        raise UserError(
            f"{name} {list(latents.shape)}: expected {expected}; give height, width and num_frames that fit"
        )
