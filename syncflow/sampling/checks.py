"""What a caller may ask of a pipeline: every refusal is one line with the remedy."""

import contextlib
import math
import operator
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal

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
            raise UserError(f"{name} {number}: empty; say what the clip shows and sounds like")
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
        raise UserError("modalities video with audio given: leave the audio out, or ask for both")
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


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """`value`, an integer of any library's type, as an int.

    Raises:
        UserError: it is no whole number of at least `least`.
    """
    whole = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            whole = operator.index(value)
    if whole is None or whole < least:
        raise UserError(f"{name}: got {value!r}; expected a whole number of at least {least}")
    return whole


def check_choice(name: str, value: Any, choices: Collection[str], *, hint: str = "") -> None:
    """Raises UserError unless `value` is one of `choices`.

    Args:
        hint: added to the message.
    """
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name}: got {value!r}; expected {' or '.join(map(repr, choices))}{hint}")


def check_weight(name: str, value: Any) -> float:
    """`value` as a float.

    Raises:
        UserError: it is no finite number of at least 0.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, (bool, str)) or not math.isfinite(number) or number < 0:
        raise UserError(
            f"{name}: got {value!r}; expected a number of at least 0 (1 follows the prompt alone)"
        )
    return number


def check_interval(name: str, value: Any) -> tuple[float, float]:
    """`value` as (start, end). Raises UserError unless 0 <= start <= end <= 1."""
    try:
        start, end = (float(edge) for edge in value)
    except (TypeError, ValueError):
        start, end = math.nan, math.nan
    if not 0 <= start <= end <= 1:
        raise UserError(f"{name}: got {value!r}; expected two flow times, 0 <= start <= end <= 1")
    return start, end


def check_latents(name: str, latents: "Tensor", *, shape: tuple[int, ...], batch: int | None) -> None:
    """Raises UserError unless `latents` are `b *shape`, of `batch` clips where that is given."""
    if tuple(latents.shape[1:]) != shape or (batch is not None and latents.shape[0] != batch):
        expected = ["batch" if batch is None else batch, *shape]
        raise UserError(
            f"{name} {list(latents.shape)}: expected {expected}; give height, width and num_frames that fit"
        )
