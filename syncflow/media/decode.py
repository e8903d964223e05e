"""Decode windows by timestamps: audio and video keep the distance that the file gives them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from syncflow.media.errors import MediaError
from syncflow.media.ffmpeg_backend import RawAudio, decode_span
from syncflow.media.probe import Limits, MediaInfo, checked_path, probe
from syncflow.media.selection import decoded_share
from syncflow.media.spans import Span, plan_spans
from syncflow.media.window_parts import frames_of_windows, require_decoded, require_within, samples_of_window
from syncflow.records import ClipSpec

Backend = Literal["ffmpeg", "decord"]
_SILENT_POWER = 1e-10  # mean square of the samples: -100 dBFS


@dataclass(frozen=True, kw_only=True)
class MediaWindow:
    """A window, and how much of it the file really gave; the rest is filled in."""

    frames: np.ndarray  # uint8 f h w c, RGB
    audio: np.ndarray  # float32 m, in [-1, 1]
    video_decoded: float  # share of the frames that are the ones that the packets promise, undamaged
    audio_decoded: float  # share of the samples that were decoded; the others are silence
    phase_cancellation: float  # share of the power of left and right that their average loses; 1: all of it


def decode_windows(
    path: Path,
    *,
    starts_s: Sequence[float],
    spec: ClipSpec,
    backend: Backend = "ffmpeg",
    timeout_s: float = 30.0,
    limits: Limits | None = None,
    info: MediaInfo | None = None,
) -> list[MediaWindow]:
    """Exactly `spec.num_frames` frames and `spec.num_samples` samples from each start on.

    Frame k is the last one shown by `start_s + (k + 1/2) / fps`, so that an event is within half a frame of
    its time; its short side is resized to cover `spec`, then cropped at the centre. Audio is the plain
    average of the channels. What the file leaves open, or the decoder could not read, is the frame before,
    and silence; the shares tell how much that is. Windows near one another are decoded by one child; what
    a window holds does not depend on the others.

    Args:
        starts_s: seconds from the container's start (the earlier of both streams).
        backend: `decord` reads the video by decord, and refuses files whose timestamps it cannot honour.
        timeout_s: wall-clock limit of each child, to which the seconds that it decodes are added.
        info: what `probe` said, if known already.

    Returns:
        a window for each start; the frames of windows that overlap may share their memory.

    Raises:
        MediaError: any reason of `probe`; no_video, no_audio, too_short, not_finite, unsupported.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    for start_s in starts_s:
        require_within(path, info, start_s=start_s, spec=spec, kinds=("video", "audio"))
    windows: dict[int, MediaWindow] = {}
    failure: MediaError | None = None
    for span in plan_spans(starts_s, info=info, spec=spec):
        try:
            found = _windows_of(
                real, span, info=info, spec=spec, backend=backend, timeout_s=timeout_s, limits=limits
            )
        except MediaError as error:
            if error.reason != "undecodable":
                raise
            failure, found = error, [_nothing(spec)] * len(span.places)
        windows |= dict(zip(span.places, found, strict=True))
    if failure is not None and not any(window.video_decoded for window in windows.values()):
        raise failure
    return [windows[place] for place in range(len(starts_s))]


def decode_window(
    path: Path,
    *,
    start_s: float,
    spec: ClipSpec,
    backend: Backend = "ffmpeg",
    timeout_s: float = 30.0,
    limits: Limits | None = None,
    info: MediaInfo | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One window of `decode_windows`: frames uint8 `f h w c` and audio float32 `m`.

    Raises:
        MediaError: as `decode_windows`; partly_decoded, below `MIN_DECODED`.
    """
    (window,) = decode_windows(
        path,
        starts_s=(start_s,),
        spec=spec,
        backend=backend,
        timeout_s=timeout_s,
        limits=limits,
        info=info,
    )
    require_decoded(path, window.video_decoded, start_s=start_s, spec=spec)
    return window.frames, window.audio


def _windows_of(
    path: Path,
    span: Span,
    *,
    info: MediaInfo,
    spec: ClipSpec,
    backend: Backend,
    timeout_s: float,
    limits: Limits,
) -> list[MediaWindow]:
    """The windows of one stretch, in the order of its places."""
    raw, waveforms = decode_span(
        path,
        span,
        info=info,
        spec=spec,
        timeout_s=timeout_s,
        limits=limits,
        video=backend == "ffmpeg",
        audio=True,
        side=not (info.mono or info.ambisonic),
    )
    assert waveforms is not None, "audio was asked for"
    if raw is None:
        from syncflow.media.decord_backend import decord_frames

        shown = decord_frames(path, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits)
        video = [(frames, 1.0) for frames in shown]
    else:
        video = frames_of_windows(path, raw, span=span, info=info, spec=spec)
    windows = []
    for first, (frames, share) in zip(span.first_frames, video, strict=True):
        samples = samples_of_window(path, waveforms, first=_sample_of(first, spec), spec=spec)
        windows.append(
            MediaWindow(
                frames=frames,
                audio=np.clip(samples[0], -1.0, 1.0),
                video_decoded=share,
                audio_decoded=_audio_share(waveforms, info, span.start_s + first / spec.fps, spec),
                phase_cancellation=_cancellation(samples),
            )
        )
    return windows


def _nothing(spec: ClipSpec) -> MediaWindow:
    """A window of which nothing could be decoded: black and silent."""
    return MediaWindow(
        frames=np.zeros((spec.num_frames, spec.height, spec.width, 3), np.uint8),
        audio=np.zeros(spec.num_samples, np.float32),
        video_decoded=0.0,
        audio_decoded=0.0,
        phase_cancellation=0.0,
    )


def _sample_of(frame: int, spec: ClipSpec) -> int:
    return round(frame / spec.fps * spec.sample_rate)


def _audio_share(raw: RawAudio, info: MediaInfo, start_s: float, spec: ClipSpec) -> float:
    packets = np.asarray(info.audio_packets_s).reshape(-1, 2)
    return decoded_share(packets, raw.decoded_s, start_s=start_s, end_s=start_s + spec.seconds)


def _cancellation(samples: np.ndarray) -> float:
    """The power of half of left less right, of that of left and right; 0 for one channel, or silence."""
    if len(samples) == 1:
        return 0.0
    mixed, side = (float(np.square(channel, dtype=np.float64).mean()) for channel in samples)
    return side / (mixed + side) if mixed + side > _SILENT_POWER else 0.0
