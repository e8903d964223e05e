"""Arithmetic on latents of two modalities, where one may be absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from syncflow.records import AVLatents

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def map_latents(function: Callable[..., Tensor], *latents: AVLatents) -> AVLatents:
    """`function` applied modality by modality; a modality that the first lacks stays absent.

    Raises:
        AssertionError: a later operand lacks a modality that the first has.
    """

    def apply(name: str) -> Tensor | None:
        parts = [getattr(item, name) for item in latents]
        if parts[0] is None:
            return None
        assert all(part is not None for part in parts), f"{name} is absent from an operand: {latents}"
        return function(*parts)

    return AVLatents(video=apply("video"), audio=apply("audio"))


def add_scaled(x: AVLatents, *terms: tuple[float, AVLatents]) -> AVLatents:
    """x + sum of factor * term, modality by modality."""

    def total(start: Tensor, *parts: Tensor) -> Tensor:
        for (factor, _), part in zip(terms, parts, strict=True):
            start = start + factor * part
        return start

    return map_latents(total, x, *(term for _, term in terms))


def concatenate(items: Sequence[AVLatents]) -> AVLatents:
    """Latents of several batches as one batch."""
    import torch

    return map_latents(lambda *parts: torch.cat(parts), *items)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; from the CPU to a GPU through pinned memory, without waiting for the GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def per_sample(t: Tensor, like: Tensor) -> Tensor:
    """Times `b` shaped to multiply `like`, whose first axis is b; on its device."""
    return send(t, like.device).reshape(-1, *[1] * (like.ndim - 1))


def rows_like(shared: Tensor, like: Tensor) -> Tensor:
    """`shared` with each row repeated to as many as `like` has: the draws of a sample lie together."""
    repeats, rest = divmod(like.shape[0], shared.shape[0])
    assert not rest, f"{like.shape[0]} rows, expected a multiple of {shared.shape[0]}"
    return shared if repeats == 1 else shared.repeat_interleave(repeats, dim=0)


def present(latents: AVLatents) -> list[Tensor]:
    """The tensors of the modalities that are there."""
    return [part for part in (latents.video, latents.audio) if part is not None]
