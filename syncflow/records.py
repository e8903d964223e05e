"""Every hand-over type; read top to bottom, this is the pipeline.

Letters of the shapes, here and everywhere (einops notation):
    b  batch              f  pixel frames        m  audio samples
    c  channels           t  video latent frames n  audio latents
    h w  rows, columns    s  spatial tokens      d  width of an audio latent
    e  embedding          l  text tokens
Video latents are `b c t h w`, audio latents `b n d`; flow time `t` is 0 at noise and 1 at data.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from syncflow.config import Config
from syncflow.storage import Location

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Split = Literal["train", "test"]
FrameTimes = tuple[tuple[float, float], ...]  # start and end of each video latent frame, seconds


class ClipSpec(Config):
    """What a window of audio and video is (Section 4, Setup Details). Every length derives from it."""

    seconds: float = 2.0
    """Length of a window, seconds."""
    fps: int = 16
    """Frames per second of a window."""
    height: int = 256
    """Rows of each frame of a window, pixels."""
    width: int = 256
    """Columns of each frame of a window, pixels."""
    sample_rate: int = 48_000
    """Sample rate of the mono audio, Hz."""

    @property
    def num_frames(self) -> int:
        return round(self.seconds * self.fps)

    @property
    def num_samples(self) -> int:
        return round(self.seconds * self.sample_rate)


class Weights(Config):
    """A model that made a dataset or decodes what was made from it: its content hash, and where it lay."""

    sha256: str
    """Content hash of the weights, names and shapes included."""
    location: str
    """Folder or hub name; empty for an encoder that is built from a seed."""


class _Record:
    """Prints shapes, not data."""

    def __repr__(self) -> str:
        def show(value: object) -> str:
            shape = getattr(value, "shape", None)
            return repr(value) if shape is None else f"{getattr(value, 'dtype', '')}{list(shape)}"

        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        inner = ", ".join(f"{f.name}={show(getattr(self, f.name))}" for f in fields)
        return f"{type(self).__name__}({inner})"


# --- precompute: ClipRef -> DecodedClip -> CaptionedClip -> EncodedClip -> Parquet


@dataclass(frozen=True, kw_only=True, repr=False)
class ClipRef(_Record):
    """One clip of a dataset: a part of a media file. The unit of accounting."""

    dataset: str
    clip_id: str
    path: Location
    split: Split = "train"
    start_s: float = 0.0  # where the clip starts in the file
    duration_s: float | None = None  # None: to the end of the file
    label: str = ""  # the class label, or what the dataset's own annotations tell, as a sentence
    caption: str = ""  # of the manifest or a captions file
    window_captions: tuple[str, ...] = ()  # of window k, where a captions file has them; outrank `caption`
    known_bad: str = ""  # why a list of known bad clips names it


@dataclass(frozen=True, kw_only=True, repr=False)
class StoredClip(_Record):
    """A clip whose moments a dataset holds, and whose captions or split are to be written anew."""

    ref: ClipRef
    shard: str  # in latents/
    source_state: tuple[int, int]  # size and time of the file when it was read


@dataclass(frozen=True, kw_only=True, repr=False)
class Dropped(_Record):
    """A clip that left the pipeline: `rejected` by a rule, `failed` for a fault, or `missing`, for its file
    cannot be read. Never silent.
    """

    ref: ClipRef
    kind: Literal["rejected", "failed", "missing"]
    reason: str  # a short typed name, as `no_audio`, `undecodable`, `timeout`
    detail: str = ""  # one line for a person
    source_sha256: str = ""  # where the file was read


@dataclass(frozen=True, kw_only=True, repr=False)
class DecodedWindow(_Record):
    """Audio and video of one window, on the grid of its `ClipSpec`."""

    index: int  # k of the clip's K windows
    start_s: float  # in the file
    frames: np.ndarray  # uint8 f h w c
    audio: np.ndarray  # float32 m, in [-1, 1]

    def __post_init__(self) -> None:
        assert self.frames.dtype == np.uint8 and self.frames.ndim == 4 and self.frames.shape[3] == 3, self
        assert self.audio.dtype == np.float32 and self.audio.ndim == 1, self


@dataclass(frozen=True, kw_only=True, repr=False)
class DecodedClip(_Record):
    ref: ClipRef
    source_sha256: str
    windows: tuple[DecodedWindow, ...]
    scores: tuple[dict[str, float], ...]  # one a window: motion, static, silence, clipping ... (filters.py)
    overview: np.ndarray | None = None  # uint8 f h w c: evenly spaced over the whole clip, for its caption


@dataclass(frozen=True, kw_only=True, repr=False)
class CaptionedClip(_Record):
    clip: DecodedClip
    captions: tuple[str, ...]  # one a window
    caption_source: str  # label | manifest | git | qwen3-vl


@dataclass(frozen=True, kw_only=True, repr=False)
class LatentRow(_Record):
    """One row of the Parquet table: the moments of both posteriors of one window."""

    dataset: str
    clip_id: str
    window: int
    start_s: float
    split: Split
    caption: str
    caption_key: str  # sha256 of the caption: the key of the text table
    caption_source: str
    source_sha256: str
    fingerprint: str  # of everything that made the row: source, decoder, spec, weights, seed
    scores: dict[str, float]
    video_mean: np.ndarray  # float16 c t h w
    video_logvar: np.ndarray  # float16 c t h w
    audio_mean: np.ndarray  # float16 n d
    audio_logvar: np.ndarray  # float16 n d


@dataclass(frozen=True, kw_only=True, repr=False)
class TextEmbedding(_Record):
    """The text encoder's output for one caption: valid tokens only."""

    key: str
    caption: str
    tokens: np.ndarray  # float16 l e


@dataclass(frozen=True, kw_only=True, repr=False)
class EncodedClip(_Record):
    ref: ClipRef
    rows: tuple[LatentRow, ...]
    texts: tuple[TextEmbedding, ...]  # one a distinct caption of the rows
    source_state: tuple[int, int] | None = None  # size and time of the file when it was read; None: as now


# --- training: LatentBatch -> PathSample -> loss -> checkpoint


@dataclass(frozen=True, kw_only=True, repr=False)
class AVLatents(_Record):
    """Latents, noise or velocities of both modalities; None where a system has but one."""

    video: Tensor | None  # b c t h w
    audio: Tensor | None  # b n d


@dataclass(frozen=True, kw_only=True, repr=False)
class TextBatch(_Record):
    """Prompts of a batch, padded on the right; `mask` marks valid tokens."""

    tokens: Tensor  # b l e
    mask: Tensor  # bool b l
    dropped: Tensor  # bool b: the null prompt takes this one's place, under the same mask


@dataclass(frozen=True, kw_only=True, repr=False)
class LatentBatch(_Record):
    latents: AVLatents  # sampled from the posteriors: the data x_1
    text: TextBatch
    index: Tensor  # int64 b: global sample index, which keys every random draw
    noise_index: Tensor  # int64 b: the sample whose noise it is given; `index` until coupled
    window: Tensor | None = None  # int64 b: the dataset's row of the sample's window; None: of no dataset
    noise: AVLatents | None = None  # that of `noise_index`, where it was drawn ahead; audio's is (b k) n d
    coupling_gain: float = math.nan  # share of transport that the coupling saved; NaN: not coupled
    weight: float = 1.0  # samples of the batch, over what they would be if all workers had as many

    @property
    def device(self) -> torch.device:
        """Where latents and prompts are; the indices key draws, which are made on the CPU, and stay there."""
        return self.text.tokens.device


@dataclass(frozen=True, kw_only=True, repr=False)
class PathSample(_Record):
    """A point of the straight path between noise and data (Section 3.1)."""

    x_t: AVLatents
    velocity: AVLatents  # target, x_1 - x_0
    t: Tensor  # b
    video_t: Tensor  # b: of the video; as `t` but where training shows it finished


# --- sampling and evaluation: AVLatents -> GeneratedClip (mp4) -> Scores


@dataclass(frozen=True, kw_only=True, repr=False)
class GeneratedClip(_Record):
    prompt: str
    seed: int
    spec: ClipSpec
    frames: np.ndarray  # uint8 f h w c
    audio: np.ndarray  # float32 m


@dataclass(frozen=True, kw_only=True, repr=False)
class SyncScore(_Record):
    """Audio onsets against motion peaks of one clip (onsets.py)."""

    precision: float
    recall: float
    f1: float
    offset_ms: float  # mean of audio minus video over matched pairs; NaN when none match
    num_audio_onsets: int
    num_motion_peaks: int
