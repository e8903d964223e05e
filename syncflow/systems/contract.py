"""What every system that makes audio is: a card, and a call that answers each request."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from syncflow.media import decode_frames
from syncflow.records import ClipSpec
from syncflow.systems.card import SystemCard


@dataclass(frozen=True, kw_only=True)
class AudioRequest:
    """Audio for one window of a video, or for the prompt of one."""

    number: int  # of the row, which keys the draws
    prompt: str
    video: Path
    spec: ClipSpec
    start_s: float = 0.0  # where in the video the window starts

    def frames(self) -> np.ndarray:
        """The window's frames, uint8 `f h w c`.

        Raises:
            MediaError: it cannot be read.
        """
        return decode_frames(self.video.resolve(), start_s=self.start_s, spec=self.spec)


@dataclass(frozen=True, kw_only=True)
class NoAudio:
    """Why a request has no answer: a reason of one word, a colon, and what is to be known."""

    reason: str


class AudioSystem(Protocol):
    """A system of the paper's comparison that makes audio."""

    card: SystemCard

    def __call__(self, requests: Sequence[AudioRequest], *, seed: int) -> list[np.ndarray | NoAudio]:
        """One answer each, in order: float32 `m` of the request's length at its rate."""
        ...


def fitted(audio: np.ndarray, spec: ClipSpec) -> np.ndarray:
    """The first seconds of `m` samples at the clip's rate; silence where it is shorter by a few samples."""
    wanted = spec.num_samples
    return np.pad(audio[:wanted], (0, max(0, wanted - len(audio)))).astype(np.float32)
