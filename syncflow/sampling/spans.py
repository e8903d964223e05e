"""Which part of a given video or audio is kept: time spans, in seconds."""

from collections.abc import Sequence
from typing import Literal

from syncflow.errors import UserError

Keep = Literal["all", "none"] | Sequence[tuple[float, float]]
"""All that is given, none of it, or spans of it (start, end)."""

EXACT_S = 1e-6


def parse_keep(text: str) -> Keep:
    """`all`, `none`, or spans as `0-1` or `0-0.5,1.5-2`.

    Raises:
        UserError: anything else.
    """
    if text in ("all", "none"):
        return text
    try:
        spans = [tuple(float(edge) for edge in part.split("-")) for part in text.split(",")]
    except ValueError:
        spans = []
    if not spans or any(len(span) != 2 for span in spans):
        raise UserError(f"keep {text!r}: expected all, none, or spans in seconds as 0-1 or 0-0.5,1.5-2")
    return [(start, end) for start, end in spans]


def end_of(keep: Keep, *, all_s: float) -> float:
    """Up to when of the given something is kept, seconds; `all_s` is its whole length."""
    if keep == "all":
        return all_s
    return max((end for _, end in keep), default=0.0) if keep != "none" else 0.0  # type: ignore[misc]


def kept(keep: Keep, bounds: Sequence[tuple[float, float]], *, given_s: float, name: str) -> list[bool]:
    """Which latents are kept: those whose time (of `bounds`, seconds) lies whole within a span.

    `given_s` is the length of what is given, seconds; `name` is that of the setting.

    Raises:
        UserError: a span that ends before it starts or after what is given, or spans that hold no latent.
    """
    if keep == "none":
        return [False] * len(bounds)
    spans = [(0.0, given_s)] if keep == "all" else [(float(a), float(b)) for a, b in keep]
    for start, end in spans:
        if not 0 <= start < end:
            raise UserError(f"{name} {start:g}-{end:g}: expected 0 <= start < end, seconds")
        if end > given_s + EXACT_S:
            raise UserError(f"{name} {start:g}-{end:g}: ends after what is given, {given_s:g} s; shorten it")
    found = [any(a <= start + EXACT_S and end <= b + EXACT_S for a, b in spans) for start, end in bounds]
    if not any(found):
        longest = max(end - start for start, end in bounds)
        raise UserError(f"{name}: no latent lies whole within it; give spans of {longest:.2g} s or more")
    return found
