"""Decode one stream alone, by timestamps: frames of a file that need not have audio, and the reverse."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from syncflow.media.errors import MediaError
from syncflow.media.ffmpeg_backend import RawVideo, decode_span
from syncflow.media.probe import Limits, MediaInfo, checked_path, probe
from syncflow.media.spans import Span, plan_spans
from syncflow.media.window_parts import frames_of_windows, require_decoded, require_within, samples_of_window
from syncflow.records import ClipSpec


def decode_frames(
    path: Path,
    *,
    start_s: float,
    spec: ClipSpec,
    timeout_s: float = 30.0,
    limits: Limits | None = None,
    info: MediaInfo | None = None,
) -> np.ndarray:
    """The frames that `decode_window` gives, of a file that need not have audio.

    Returns:
        frames uint8 `f h w c`, RGB.

    Raises:
        MediaError: any reason of `probe`; no_video, too_short; partly_decoded, below `MIN_DECODED`.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    require_within(path, info, start_s=start_s, spec=spec, kinds=("video",))
    (span,) = plan_spans((start_s,), info=info, spec=spec)
    raw = _video(real, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits)
    ((frames, share),) = frames_of_windows(path, raw, span=span, info=info, spec=spec)
    require_decoded(path, share, start_s=start_s, spec=spec)
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
    """The frame on show at each of the times; the file need not have audio.

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
        require_within(path, info, start_s=start_s, spec=one, kinds=("video",))
    found: dict[int, np.ndarray] = {}
    for span in plan_spans(starts_s, info=info, spec=one):
        raw = _video(real, span, info=info, spec=one, timeout_s=timeout_s, limits=limits)
        shown = frames_of_windows(path, raw, span=span, info=info, spec=one)
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
    """The first audio stream as float32 `m`, mono (average of the channels), at `sample_rate`.

    Args:
        start_s: seconds from the container's start; what a late stream leaves open is silence.
        seconds: length; None is to the end of the audio.

    Raises:
        MediaError: any reason of `probe`; no_audio, too_short, not_finite.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = probe(real, timeout_s=timeout_s, limits=limits)
    if not info.has_audio:
        raise MediaError("no_audio", f"{path}: no audio stream")
    length = info.audio_end_s - start_s if seconds is None else seconds
    if length <= 0 or start_s + length > info.audio_end_s + 0.1:
        raise MediaError("too_short", f"{path}: audio ends at {info.audio_end_s:.3f} s")
    spec = ClipSpec(seconds=length, fps=10, sample_rate=sample_rate)
    (span,) = plan_spans((start_s,), info=info, spec=spec)
    _, raw = decode_span(
        real, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits, video=False, audio=True
    )
    assert raw is not None, "audio was asked for"
    missing = spec.num_samples - raw.samples.shape[1]
    if seconds is not None and missing >= spec.sample_rate / spec.fps:
        raise MediaError("undecodable", f"{path}: {raw.samples.shape[1]} of {spec.num_samples} samples")
    samples = np.clip(samples_of_window(path, raw, first=0, spec=spec)[0], -1.0, 1.0)
    return samples if seconds is not None else samples[: raw.samples.shape[1]]


def _video(
    path: Path, span: Span, *, info: MediaInfo, spec: ClipSpec, timeout_s: float, limits: Limits
) -> RawVideo:
    raw, _ = decode_span(
        path, span, info=info, spec=spec, timeout_s=timeout_s, limits=limits, video=True, audio=False
    )
    assert raw is not None, "video was asked for"
    return raw
