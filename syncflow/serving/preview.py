"""Previews of a clip while its video is solved for."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from syncflow.records import AVLatents

SHOWN = 4  # frames side by side


class Previews:
    """Estimates of the finished video from two solver steps, decoded at evenly spaced flow times.

    A straight path is on `x_1 = x_t + (1 - t) dx/dt`, and the difference of two consecutive states is their
    velocity (Section 3.1).
    """

    def __init__(self, decode: Callable[[Tensor], np.ndarray], *, count: int) -> None:
        """`decode` takes latents `1 c t h w` to uint8 frames `f h w c`; `count` previews are made."""
        self._decode, self._count = decode, count
        self._last: tuple[float, Tensor] | None = None
        self._made = 0

    def __call__(self, t: float, latents: AVLatents, places: Sequence[int]) -> dict[int, bytes]:
        """PNG images of the clips at `places` of the batch, where one is due; else nothing."""
        x_t, before = latents.video, self._last
        if x_t is None or self._made >= self._count or (before is not None and t <= before[0]):
            return {}  # nothing to show, enough shown, or the video is finished and the audio has begun
        self._last = (t, x_t)
        if before is None or t < self._made / self._count:
            return {}
        self._made += 1
        velocity = (x_t - before[1]) / (t - before[0])
        x_1 = x_t + (1 - t) * velocity
        return {place: as_png(self._decode(x_1[place : place + 1])) for place in places}


def as_png(frames: np.ndarray) -> bytes:
    """Some frames of uint8 `f h w c` side by side, as a PNG."""
    chosen = np.linspace(0, len(frames) - 1, num=min(SHOWN, len(frames))).round().astype(int)
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([frames[k] for k in chosen], axis=1)).save(stream, format="PNG")
    return stream.getvalue()
