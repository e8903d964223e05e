"""Decode a window by timestamps: sound and picture keep the distance that the file gives them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import numpy as np

from syncflow.media.errors import MediaError
from syncflow.media.probe import (
    Limits,
    MediaInfo,
    checked_path,
    ffmpeg_command,
    input_options,
    probe,
    refusal,
)
from syncflow.media.process import Finished, run_command
from syncflow.records import ClipSpec

Backend = Literal["ffmpeg", "decord"]
_PREROLL_S = 1.0  # decoded before the window and thrown away: codecs need a run-up
_SEEKABLE = ("mov", "matroska", "avi")  # containers with an index; the others are decoded from their start


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
    """Exactly `spec.num_frames` frames and `spec.num_samples` samples from `start_s` on.

    Frame k is the last one shown by `start_s + (k + 1/2) / fps`, so that an event is within half a frame of
    its time; its short side is resized to cover `spec`, then cropped at the centre. Sound is the plain
    average of the channels. What the file leaves open before a late sound stream is silence.

    Args:
        start_s: seconds from the container's start (the earlier of both streams).
        backend: `decord` reads the picture by decord, and refuses files whose timestamps it cannot honour.
        timeout_s: wall-clock limit of each child.
        info: what `probe` said, if known already.

    Returns:
        frames uint8 `f h w c`, RGB; audio float32 `m` in [-1, 1].

    Raises:
        MediaError: any reason of `probe`; no_video, no_audio, too_short, not_finite, unsupported.
    """
    limits = limits or Limits()
    real = checked_path(path)
    info = info or probe(real, timeout_s=timeout_s, limits=limits)
    _require(path, info, start_s=start_s, spec=spec)
    if backend == "decord":
        from syncflow.media.decord_backend import decord_frames

        frames = decord_frames(
            real, info=info, start_s=start_s, spec=spec, timeout_s=timeout_s, limits=limits
        )
        sound = _run(real, info, start_s, spec, ("audio",), timeout_s=timeout_s, limits=limits)[0]
    else:
        picture, sound = _run(
            real, info, start_s, spec, ("video", "audio"), timeout_s=timeout_s, limits=limits
        )
        frames = _frames(path, picture, spec=spec)
    audio = _fit(path, sound, skip_s=_seek(info, start_s)[1], spec=spec)
    return frames[: spec.num_frames].copy(), audio


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
    _require_picture(path, info, start_s=start_s, spec=spec)
    picture = _run(real, info, start_s, spec, ("video",), timeout_s=timeout_s, limits=limits)[0]
    return _frames(path, picture, spec=spec).copy()


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
    sound = _run(real, info, start_s, spec, ("audio",), timeout_s=timeout_s, limits=limits)[0]
    return _fit(path, sound, skip_s=_seek(info, start_s)[1], spec=spec, open_end=seconds is None)


def _frames(path: Path, picture: bytes, *, spec: ClipSpec) -> np.ndarray:
    frames = np.frombuffer(picture, dtype=np.uint8)
    size = spec.height * spec.width * 3
    if len(frames) < spec.num_frames * size:
        raise MediaError("too_short", f"{path}: {len(frames) // size} of {spec.num_frames} frames")
    return frames.reshape(-1, spec.height, spec.width, 3)


def _require_picture(path: Path, info: MediaInfo, *, start_s: float, spec: ClipSpec) -> None:
    if not info.has_video:
        raise MediaError("no_video", f"{path}: no picture stream")
    first, last = info.video_start_s, info.video_end_s
    frame_s = 1 / spec.fps
    if start_s < max(0.0, first - frame_s) - 1e-6 or start_s + spec.seconds > last + frame_s:
        raise MediaError(
            "too_short",
            f"{path}: window {start_s:.3f} to {start_s + spec.seconds:.3f} s reaches past the picture, "
            f"{first:.3f} to {last:.3f} s",
        )


def _require(path: Path, info: MediaInfo, *, start_s: float, spec: ClipSpec) -> None:
    if not info.has_video:
        raise MediaError("no_video", f"{path}: no picture stream")
    if not info.has_audio:
        raise MediaError("no_audio", f"{path}: no sound stream")
    frame_s = 1 / spec.fps
    end_s = start_s + spec.seconds
    first, last = info.video_start_s, min(info.video_end_s, info.audio_end_s)
    if start_s < max(0.0, first - frame_s) - 1e-6 or end_s > last + frame_s or end_s <= info.audio_start_s:
        raise MediaError(
            "too_short",
            f"{path}: window {start_s:.3f} to {end_s:.3f} s reaches past picture and sound, "
            f"{first:.3f} to {last:.3f} s",
        )


def _seek(info: MediaInfo, start_s: float) -> tuple[float, float]:
    """Where to seek to, and how much to throw away after it; seconds."""
    if start_s <= 2 * _PREROLL_S or not info.container.startswith(_SEEKABLE):
        return 0.0, start_s
    return start_s - _PREROLL_S, _PREROLL_S


def _run(
    path: Path,
    info: MediaInfo,
    start_s: float,
    spec: ClipSpec,
    kinds: Sequence[Literal["video", "audio"]],
    *,
    timeout_s: float,
    limits: Limits,
) -> tuple[bytes, ...]:
    """Raw bytes of the kinds asked for, decoded in one run; sound begins at the seek point."""
    seek_s, skip_s = _seek(info, start_s)
    options = input_options(limits)
    if seek_s > 0:  # all from the keyframe before: the frame on show at `start_s` may be an old one
        options |= {"ss": f"{seek_s:.6f}", "noaccurate_seek": None}
    source = ffmpeg.input(str(path), **options)
    pipes = [os.pipe() for _ in kinds[1:]]
    targets = ["pipe:1", *(f"pipe:{write}" for _, write in pipes)]
    outputs: list[Any] = []
    sizes: list[int] = []
    for kind, target in zip(kinds, targets, strict=True):
        if kind == "video":
            outputs.append(_video_output(source, target, skip_s=skip_s, spec=spec))
            sizes.append(spec.num_frames * spec.height * spec.width * 3)
        else:
            seconds = skip_s + spec.seconds + 1 / spec.fps
            outputs.append(_audio_output(source, target, seconds=seconds, info=info, spec=spec))
            sizes.append(4 * int((seconds + 1) * spec.sample_rate))
    merged = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    done: Finished = run_command(
        [*ffmpeg_command(), *ffmpeg.get_args(merged)],
        timeout_s=timeout_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=sizes,
        extra_read_fds=[read for read, _ in pipes],
        extra_write_fds=[write for _, write in pipes],
    )
    if done.returncode != 0 or not all(done.outputs):
        raise refusal(path, done)
    return done.outputs


def _video_output(source: Any, target: str, *, skip_s: float, spec: ClipSpec) -> Any:
    w, h = spec.width, spec.height
    wide = f"gt(dar,{w}/{h})"
    picture = (
        source["V:0"]
        .filter("settb", "1/1000000")
        .filter("setpts", f"PTS-{skip_s:.6f}/TB")
        .filter("fps", fps=spec.fps, start_time=0, round="near")
        .filter(
            "scale",
            w=f"if({wide},max({w},round({h}*dar)),{w})",
            h=f"if({wide},{h},max({h},round({w}/dar)))",
            flags="bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
        )
        .filter("crop", w, h)
        .filter("tpad", stop_mode="clone", stop=1)
    )
    return picture.output(
        target, format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough", vframes=spec.num_frames, threads=1
    )


def _audio_output(source: Any, target: str, *, seconds: float, info: MediaInfo, spec: ClipSpec) -> Any:
    if not info.channels:
        raise MediaError("undecodable", "the sound's channel layout has no known number of channels")
    mix = "mono|c0<" + "+".join(f"c{k}" for k in range(info.channels))
    sound = (
        source["a:0"]
        .filter("aformat", sample_fmts="fltp")
        .filter("pan", mix)
        .filter("aresample", spec.sample_rate, **{"async": 1, "first_pts": 0, "min_hard_comp": 0.02})
    )
    return sound.output(target, format="f32le", acodec="pcm_f32le", t=f"{seconds:.6f}")


def _fit(path: Path, sound: bytes, *, skip_s: float, spec: ClipSpec, open_end: bool = False) -> np.ndarray:
    """The window's samples: less than a frame missing at the end is filled up with silence."""
    audio = np.frombuffer(sound, dtype="<f4")[round(skip_s * spec.sample_rate) :][: spec.num_samples]
    missing = spec.num_samples - len(audio)
    if not open_end:
        if missing >= spec.sample_rate / spec.fps:
            raise MediaError("too_short", f"{path}: {len(audio)} of {spec.num_samples} samples")
        audio = np.pad(audio, (0, missing))
    if not np.isfinite(audio).all():
        raise MediaError("not_finite", f"{path}: NaN or Inf among the samples")
    return np.clip(audio, -1.0, 1.0).astype(np.float32)
