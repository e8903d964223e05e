"""Which pixel frames each video latent frame stands for. No torch: plain counting.

A clip is cut into chunks of `frames_per_chunk` frames (the last may be shorter). Each chunk is padded at
its start to a multiple of `stride` frames, and then every `stride` of them become one latent frame; so the
first latent frame of a chunk may stand for fewer frames than the others. Anything that maps video time to
audio time must use this table, never `i / stride`.
"""

from collections.abc import Iterable

from syncflow.errors import UserError
from syncflow.records import FrameTimes


def chunk_lengths(num_frames: int, *, frames_per_chunk: int) -> list[int]:
    """Frames of each chunk of a clip.

    Raises:
        UserError: no frames.
    """
    if num_frames < 1:
        raise UserError(f"video of {num_frames} frames: expected one frame or more; drop the empty clip")
    whole, rest = divmod(num_frames, frames_per_chunk)
    return [frames_per_chunk] * whole + ([rest] if rest else [])


def frame_spans(num_frames: int, *, frames_per_chunk: int, stride: int) -> list[tuple[int, int]]:
    """`(first, last)` pixel frame of each latent frame, both included."""
    spans: list[tuple[int, int]] = []
    start = 0
    for length in chunk_lengths(num_frames, frames_per_chunk=frames_per_chunk):
        padding = -length % stride
        for first in range(-padding, length, stride):
            spans.append((start + max(first, 0), start + first + stride - 1))
        start += length
    return spans


def frame_times(spans: Iterable[tuple[int, int]], *, fps: float) -> FrameTimes:
    """When each latent frame starts and ends, seconds from the clip's start; `spans` as `frame_spans`."""
    return tuple((first / fps, (last + 1) / fps) for first, last in spans)
