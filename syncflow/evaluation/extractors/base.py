"""What an extractor is: decoded clips or texts in, arrays or a refusal out, and an identity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

Modality = Literal["audio", "video", "audio_video", "text"]


@dataclass(frozen=True, kw_only=True)
class DecodedMedia:
    """One clip as extractors get it; a text item has only `text`.

    Frames are uint8 `f h w c` (RGB) at `fps`; audio is float32 `m`, mono, in [-1, 1] at `sample_rate`.
    """

    frames: np.ndarray | None = None
    fps: float = 0.0
    audio: np.ndarray | None = None
    sample_rate: int = 0
    text: str = ""

    @property
    def video(self) -> np.ndarray:
        """The frames, of a clip that has them."""
        assert self.frames is not None, "a clip without frames reached an extractor of video"
        return self.frames

    @property
    def waveform(self) -> np.ndarray:
        """The audio, of a clip that has it."""
        assert self.audio is not None, "a clip without audio reached an extractor of audio"
        return self.audio


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Why an extractor gives nothing for one clip: `too_short: 0.5 s, needs 0.975 s`."""

    reason: str


Outputs = Mapping[str, np.ndarray]


class Extractor(Protocol):
    """A backbone with its preprocessing."""

    @property
    def name(self) -> str:
        """As it stands in tables: `vggish`, `clap_text`."""
        ...

    @property
    def modality(self) -> Modality:
        """What a clip must have."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the arrays that a clip gets."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the arrays, of JSON types: weights' hash, preprocessing, code's version."""
        ...

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        """One result a clip, in order."""
        ...
