"""Decode windows by timestamps: audio and video keep the distance that the file gives them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from syncflow.media.errors import MediaError
from syncflow.media.ffmpeg_backend import RawAudio, RawVideo, decode_span
from syncflow.media.probe import Limits, MediaInfo, checked_path, probe
from syncflow.media.selection import decoded_share, shown_frames
from syncflow.media.spans import Span, plan_spans
from syncflow.records import ClipSpec

Backend = Literal["ffmpeg", "decord"]
Kind = Literal["video", "audio"]
_SILENT_POWER = 1e-10  # mean square of the samples: -100 dBFS
MIN_DECODED = (
    0.95  # share of a window's frames: with fewer, a caller that is not told the share gets an error
)


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
        _require(path, info, start_s=start_s, spec=spec, kinds=("video", "audio"))
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
    raw, sound = decode_span(
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
    assert sound is not None, "audio was asked for"
    if raw is None:
        from syncflow.media.decord_backend import decord_frames

        shown = decord_frames(path, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits)
        video = [(frames, 1.0) for frames in shown]
    else:
        video = _frames(path, raw, span=span, info=info, spec=spec)
    windows = []
    for first, (frames, share) in zip(span.first_frames, video, strict=True):
        samples = _samples(path, sound, first=_sample_of(first, spec), spec=spec)
        windows.append(
            MediaWindow(
                frames=frames,
                audio=np.clip(samples[0], -1.0, 1.0),
                video_decoded=share,
                audio_decoded=_audio_share(sound, info, span.start_s + first / spec.fps, spec),
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
    _require_decoded(path, window.video_decoded, start_s=start_s, spec=spec)
    return window.frames, window.audio


def decode_picture(
    path: Path,
    *,
    start_s: float,
    spec: ClipSpec,
    timeout_s: float = 30.0,
    limits: Limits | None = None,
    info: MediaInfo | None = None,
) -> np.ndarray:
    """The frames that `decode_window` gives, of a file that need not have sound.

    Returns:
        frames uint8 `f h w c`, RGB.

    Raises:
        MediaError: any reason of `probe`; no_video, too_short; partly_decoded, below `MIN_DECODED`.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    _require(path, info, start_s=start_s, spec=spec, kinds=("video",))
    (span,) = plan_spans((start_s,), info=info, spec=spec)
    raw = _video(real, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits)
    ((frames, share),) = _frames(path, raw, span=span, info=info, spec=spec)
    _require_decoded(path, share, start_s=start_s, spec=spec)
    return frames


def decode_frames_at(
    path: Path,
    *,
    times_s: Sequence[float],
    spec: ClipSpec,
    timeout_s: float = 30.0,
    limits: Limits | None = None,
    info: MediaInfo | None = None,
) -> np.ndarray:
    """The frame on show at each of the times; the file need not have sound.

    Args:
        times_s: seconds from the container's start, in any order.

    Returns:
        frames uint8 `f h w c`, RGB, in the order of the times.

    Raises:
        MediaError: any reason of `probe`; no_video, too_short.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    one = spec.model_copy(update={"seconds": 1 / spec.fps})
    latest_s = info.video_end_s - one.seconds
    starts_s = [max(0.0, info.video_start_s, min(time_s - one.seconds / 2, latest_s)) for time_s in times_s]
    for start_s in starts_s:
        _require(path, info, start_s=start_s, spec=one, kinds=("video",))
    found: dict[int, np.ndarray] = {}
    for span in plan_spans(starts_s, info=info, spec=one):
        raw = _video(real, span, info=info, spec=one, timeout_s=timeout_s, limits=limits)
        shown = _frames(path, raw, span=span, info=info, spec=one)
        found |= dict(zip(span.places, (frames for frames, _ in shown), strict=True))
    return np.concatenate([found[place] for place in range(len(starts_s))])


def decode_audio(
    path: Path,
    *,
    sample_rate: int,
    start_s: float = 0.0,
    seconds: float | None = None,
    timeout_s: float = 120.0,
    limits: Limits | None = None,
) -> np.ndarray:
    """The first sound stream as float32 `m`, mono (average of the channels), at `sample_rate`.

    Args:
        start_s: seconds from the container's start; what a late stream leaves open is silence.
        seconds: length; None is to the end of the sound.

    Raises:
        MediaError: any reason of `probe`; no_audio, too_short, not_finite.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = probe(real, timeout_s=timeout_s, limits=limits)
    if not info.has_audio:
        raise MediaError("no_audio", f"{path}: no sound stream")
    length = info.audio_end_s - start_s if seconds is None else seconds
    if length <= 0 or start_s + length > info.audio_end_s + 0.1:
        raise MediaError("too_short", f"{path}: sound ends at {info.audio_end_s:.3f} s")
    spec = ClipSpec(seconds=length, fps=10, sample_rate=sample_rate)
    (span,) = plan_spans((start_s,), info=info, spec=spec)
    _, raw = decode_span(
        real, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits, video=False, audio=True
    )
    assert raw is not None, "audio was asked for"
    missing = spec.num_samples - raw.samples.shape[1]
    if seconds is not None and missing >= spec.sample_rate / spec.fps:
        raise MediaError("undecodable", f"{path}: {raw.samples.shape[1]} of {spec.num_samples} samples")
    samples = np.clip(_samples(path, raw, first=0, spec=spec)[0], -1.0, 1.0)
    return samples if seconds is not None else samples[: raw.samples.shape[1]]


def _video(
    path: Path, span: Span, *, info: MediaInfo, spec: ClipSpec, timeout_s: float, limits: Limits
) -> RawVideo:
    raw, _ = decode_span(
        path, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits, video=True, audio=False
    )
    assert raw is not None, "video was asked for"
    return raw


def _require_decoded(path: Path, share: float, *, start_s: float, spec: ClipSpec) -> None:
    if share < MIN_DECODED:
        raise MediaError(
            "partly_decoded",
            f"{path}: only {share:.0%} of the frames from {start_s:.3f} to {start_s + spec.seconds:.3f} s "
            "could be decoded",
        )


def _require(path: Path, info: MediaInfo, *, start_s: float, spec: ClipSpec, kinds: tuple[Kind, ...]) -> None:
    """Refuse a window that reaches past what the file holds, by a frame or more."""
    if not info.has_video:
        raise MediaError("no_video", f"{path}: no picture stream")
    end_s, frame_s = start_s + spec.seconds, 1 / spec.fps
    first, last, sound_start_s = info.video_start_s, info.video_end_s, 0.0
    if "audio" in kinds:
        if not info.has_audio:
            raise MediaError("no_audio", f"{path}: no sound stream")
        last, sound_start_s = min(last, info.audio_end_s), info.audio_start_s
    if start_s < max(0.0, first - frame_s) - 1e-6 or end_s > last + frame_s or end_s <= sound_start_s:
        raise MediaError(
            "too_short",
            f"{path}: window {start_s:.3f} to {end_s:.3f} s reaches past {' and '.join(kinds)}, "
            f"{first:.3f} to {last:.3f} s",
        )


def _frames(
    path: Path, raw: RawVideo, *, span: Span, info: MediaInfo, spec: ClipSpec
) -> list[tuple[np.ndarray, float]]:
    """Each window's frames, `f h w c`, and the share of them that was decoded."""
    if not len(raw.frames):
        raise MediaError("undecodable", f"{path}: no frames from {span.start_s:.3f} s on")
    steps = np.concatenate([np.arange(first, last + 1) for first, last in span.runs])
    shown = shown_frames(
        raw.times_s,
        steps=steps,
        fps=spec.fps,
        expected_s=np.asarray(info.frame_times_s) - span.start_s,
        lost_s=np.asarray(info.lost_frame_times_s) - span.start_s,
        corrupt_s=raw.corrupt_s,
        keyframes_s=np.asarray(info.keyframe_times_s) - span.start_s,
    )
    windows = []
    for offset in span.offsets():
        part = slice(offset, offset + spec.num_frames)
        windows.append((_gather(raw.frames, shown.places[part]), float(shown.decoded[part].mean())))
    return windows


def _gather(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`frames[places]`, without a copy where the places follow one another."""
    if len(places) == 1 + places[-1] - places[0] and (np.diff(places) == 1).all():
        return frames[places[0] : places[-1] + 1]
    return frames[places]


def _sample_of(frame: int, spec: ClipSpec) -> int:
    return round(frame / spec.fps * spec.sample_rate)


def _samples(path: Path, raw: RawAudio, *, first: int, spec: ClipSpec) -> np.ndarray:
    """A window's samples, `c m`: what is missing at the end is silence."""
    samples = raw.samples[:, first : first + spec.num_samples]
    if not np.isfinite(samples).all():
        raise MediaError("not_finite", f"{path}: NaN or Inf among the samples")
    return np.pad(samples, ((0, 0), (0, spec.num_samples - samples.shape[1])))


def _audio_share(raw: RawAudio, info: MediaInfo, start_s: float, spec: ClipSpec) -> float:
    packets = np.asarray(info.audio_packets_s).reshape(-1, 2)
    return decoded_share(packets, raw.decoded_s, start_s=start_s, end_s=start_s + spec.seconds)


def _cancellation(samples: np.ndarray) -> float:
    """The power of half of left less right, of that of left and right; 0 for one channel, or silence."""
    if len(samples) == 1:
        return 0.0
    mixed, side = (float(np.square(channel, dtype=np.float64).mean()) for channel in samples)
    return side / (mixed + side) if mixed + side > _SILENT_POWER else 0.0
