"""What of a decoded stretch is a window's: its frames, its samples, and what is refused."""

from pathlib import Path
from typing import Literal

import numpy as np

from syncflow.media.errors import MediaError
from syncflow.media.ffmpeg_backend import RawAudio, RawVideo
from syncflow.media.probe import MediaInfo
from syncflow.media.selection import shown_frames
from syncflow.media.spans import Span
from syncflow.records import ClipSpec

Kind = Literal["video", "audio"]
MIN_DECODED = (
    0.95  # share of a window's frames: with fewer, a caller that is not told the share gets an error
)


def require_within(
    path: Path, info: MediaInfo, *, start_s: float, spec: ClipSpec, kinds: tuple[Kind, ...]
) -> None:
    """Refuse a window that reaches past what the file holds, by a frame or more.

    Args:
        kinds: which streams must reach that far.
    """
    if not info.has_video:
        raise MediaError("no_video", f"{path}: no video stream")
    end_s, frame_s = start_s + spec.seconds, 1 / spec.fps
    first, last, sound_start_s = info.video_start_s, info.video_end_s, 0.0
    if "audio" in kinds:
        if not info.has_audio:
            raise MediaError("no_audio", f"{path}: no audio stream")
        last, sound_start_s = min(last, info.audio_end_s), info.audio_start_s
    if start_s < max(0.0, first - frame_s) - 1e-6 or end_s > last + frame_s or end_s <= sound_start_s:
        raise MediaError(
            "too_short",
            f"{path}: window {start_s:.3f} to {end_s:.3f} s reaches past {' and '.join(kinds)}, "
            f"{first:.3f} to {last:.3f} s",
        )


def require_decoded(path: Path, share: float, *, start_s: float, spec: ClipSpec) -> None:
    if share < MIN_DECODED:
        raise MediaError(
            "partly_decoded",
            f"{path}: only {share:.0%} of the frames from {start_s:.3f} to {start_s + spec.seconds:.3f} s "
            "could be decoded",
        )


def frames_of_windows(
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


def samples_of_window(path: Path, raw: RawAudio, *, first: int, spec: ClipSpec) -> np.ndarray:
    """A window's samples, `c m`: what is missing at the end is silence.

    Args:
        first: number of the window's first sample in `raw`.
    """
    samples = raw.samples[:, first : first + spec.num_samples]
    if not np.isfinite(samples).all():
        raise MediaError("not_finite", f"{path}: NaN or Inf among the samples")
    return np.pad(samples, ((0, 0), (0, spec.num_samples - samples.shape[1])))
