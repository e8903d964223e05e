"""Where the windows of a clip start: on a grid of whole frames, seeded by the clip's name.

Starts are multiples of 1/fps from the clip's own start, so the two autoencoders share one grid, and
they depend on (dataset, clip, k, seed) alone: not on the order of the clips, nor on how many workers.
"""

import hashlib
import math
from itertools import pairwise

from preprocessing.decode_config import WindowConfig
from syncflow.records import ClipRef, ClipSpec

_ROUNDING = 1e-3  # frames


def window_starts(
    ref: ClipRef, *, span_s: tuple[float, float], spec: ClipSpec, config: WindowConfig
) -> list[float]:
    """Starts of the windows of `ref`, seconds in the file, in order of k.

    Args:
        span_s: first and last moment, in the file, with both video and audio.

    Returns:
        `config.count` starts, no two alike, or as many as there are in a short clip; or all non-overlapping
        ones; none if not even one window fits.
    """
    clip_end_s = span_s[1] if ref.duration_s is None else min(span_s[1], ref.start_s + ref.duration_s)
    first = max(0, math.ceil((span_s[0] - ref.start_s) * spec.fps - _ROUNDING))
    # an end that misses the grid by under a frame is rounding: decoding allows as much
    last = math.ceil((clip_end_s - ref.start_s) * spec.fps - 0.5 - _ROUNDING) - spec.num_frames
    if last < first:
        return []
    if config.mode == "all":
        frames = list(range(first, last + 1, spec.num_frames))
    elif config.mode == "grid":
        frames = [first + offset for offset in _spread(ref, config, last - first + 1)]
    else:
        frames = [first + offset for offset in _draws(ref, config, last - first + 1)]
    return [ref.start_s + frame / spec.fps for frame in frames]


def _spread(ref: ClipRef, config: WindowConfig, room: int) -> list[int]:
    """A number from each of `config.count` equal parts of `room`, rising; all if there are no more."""
    count = min(config.count, room)
    parts = pairwise(room * k // count for k in range(count + 1))
    return [start + _draw(ref, k, config.seed) % (end - start) for k, (start, end) in enumerate(parts)]


def _draws(ref: ClipRef, config: WindowConfig, room: int) -> list[int]:
    """`config.count` numbers below `room`, each once, in order of k; all of them when there are no more."""
    drawn: dict[int, None] = {}
    for k in range(min(config.count, room)):
        again = 0
        while (offset := _draw(ref, k, config.seed, again) % room) in drawn:
            again += 1
        drawn[offset] = None
    return list(drawn)


def _draw(ref: ClipRef, k: int, seed: int, again: int = 0) -> int:
    """A uniform integer of 256 bits that depends on its key alone."""
    key = "\0".join(("window", ref.dataset, ref.clip_id, str(k), str(seed), *([str(again)] if again else [])))
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest(), "little")
