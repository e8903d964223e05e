"""Decode windows by timestamps: sound and picture keep the distance that the file gives them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from syncflow.media.errors import MediaError
from syncflow.media.ffmpeg_backend import Kind, decode_span
from syncflow.media.probe import Limits, MediaInfo, checked_path, probe
from syncflow.media.spans import Span, plan_spans
from syncflow.records import ClipSpec

Backend = Literal["ffmpeg", "decord"]


def decode_windows(
    path: Path,
    *,
    starts_s: Sequence[float],
    spec: ClipSpec,
    backend: Backend = "ffmpeg",
    timeout_s: float = 30.0,
    limits: Limits | None = None,
    info: MediaInfo | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Exactly `spec.num_frames` frames and `spec.num_samples` samples from each start on.

    Frame k is the last one shown by `start_s + (k + 1/2) / fps`, so that an event is within half a frame of
    its time; its short side is resized to cover `spec`, then cropped at the centre. Sound is the plain
    average of the channels. What the file leaves open before a late sound stream is silence. Windows near
    one another are decoded by one child; what a window holds does not depend on the others.

    Args:
        starts_s: seconds from the container's start (the earlier of both streams).
        backend: `decord` reads the picture by decord, and refuses files whose timestamps it cannot honour.
        timeout_s: wall-clock limit of each child, to which the seconds that it decodes are added.
        info: what `probe` said, if known already.

    Returns:
        frames uint8 `f h w c`, RGB, and audio float32 `m` in [-1, 1], for each start; the frames of windows
        that overlap share their memory.

    Raises:
        MediaError: any reason of `probe`; no_video, no_audio, too_short, not_finite, unsupported.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    for start_s in starts_s:
        _require(path, info, start_s=start_s, spec=spec, kinds=("video", "audio"))
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for span in plan_spans(starts_s, info=info, spec=spec):
        if backend == "decord":
            from syncflow.media.decord_backend import decord_frames

            frames = decord_frames(real, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits)
            raw = _raw(real, span, ("audio",), info=info, spec=spec, timeout_s=timeout_s, limits=limits)
        else:
            kinds: tuple[Kind, ...] = ("video", "audio")
            raw = _raw(real, span, kinds, info=info, spec=spec, timeout_s=timeout_s, limits=limits)
            frames = _frames(path, raw[0], span=span, spec=spec)
        audio = _windows_of_sound(path, raw[-1], span=span, spec=spec)
        found |= dict(zip(span.places, zip(frames, audio, strict=True), strict=True))
    return [found[place] for place in range(len(starts_s))]


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
    """One window of `decode_windows`: frames uint8 `f h w c` and audio float32 `m`."""
    (window,) = decode_windows(
        path,
        starts_s=(start_s,),
        spec=spec,
        backend=backend,
        timeout_s=timeout_s,
        limits=limits,
        info=info,
    )
    return window


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
        MediaError: any reason of `probe`; no_video, too_short.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    _require(path, info, start_s=start_s, spec=spec, kinds=("video",))
    (span,) = plan_spans((start_s,), info=info, spec=spec)
    raw = _raw(real, span, ("video",), info=info, spec=spec, timeout_s=timeout_s, limits=limits)
    return _frames(path, raw[0], span=span, spec=spec)[0]


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
        raw = _raw(real, span, ("video",), info=info, spec=one, timeout_s=timeout_s, limits=limits)
        found |= dict(zip(span.places, _frames(path, raw[0], span=span, spec=one), strict=True))
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
    raw = _raw(real, span, ("audio",), info=info, spec=spec, timeout_s=timeout_s, limits=limits)
    return _samples(path, raw[0], first=0, spec=spec, open_end=seconds is None)


def _raw(
    path: Path,
    span: Span,
    kinds: tuple[Kind, ...],
    *,
    info: MediaInfo,
    spec: ClipSpec,
    timeout_s: float,
    limits: Limits,
) -> list[bytearray]:
    return decode_span(path, span, kinds=kinds, info=info, spec=spec, timeout_s=timeout_s, limits=limits)


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


def _frames(path: Path, picture: bytearray, *, span: Span, spec: ClipSpec) -> list[np.ndarray]:
    """Each window's frames, `f h w c`."""
    size = spec.height * spec.width * 3
    frames = np.frombuffer(picture, dtype=np.uint8, count=len(picture) // size * size)
    frames = frames.reshape(-1, spec.height, spec.width, 3)
    offsets = span.offsets()
    if len(frames) < max(offsets) + spec.num_frames:
        wanted = max(offsets) + spec.num_frames
        raise MediaError(
            "undecodable", f"{path}: {len(frames)} of {wanted} frames from {span.start_s:.3f} s on"
        )
    return [frames[offset : offset + spec.num_frames] for offset in offsets]


def _windows_of_sound(path: Path, sound: bytearray, *, span: Span, spec: ClipSpec) -> list[np.ndarray]:
    firsts = [round(frame / spec.fps * spec.sample_rate) for frame in span.first_frames]
    return [_samples(path, sound, first=first, spec=spec) for first in firsts]


def _samples(
    path: Path, sound: bytearray, *, first: int, spec: ClipSpec, open_end: bool = False
) -> np.ndarray:
    """A window's samples: less than a frame missing at the end is filled up with silence."""
    audio = np.frombuffer(sound, dtype="<f4")[first:][: spec.num_samples]
    missing = spec.num_samples - len(audio)
    if not open_end:
        if missing >= spec.sample_rate / spec.fps:
            raise MediaError("undecodable", f"{path}: {len(audio)} of {spec.num_samples} samples")
        audio = np.pad(audio, (0, missing))
    if not np.isfinite(audio).all():
        raise MediaError("not_finite", f"{path}: NaN or Inf among the samples")
    return np.clip(audio, -1.0, 1.0).astype(np.float32)
