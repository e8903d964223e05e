"""Frames by decord, in a child that can be killed, where decord can be trusted with the timestamps.

decord can hang while it holds the interpreter's lock, and on some files it counts frames that do not
exist. So it never runs in this process, the times of the frames are those of the packets (`probe`),
and a file on which the two disagree is refused: use the ffmpeg backend there.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

import syncflow.media.decord_child as decord_child
from syncflow.media.errors import MediaError
from syncflow.media.probe import Limits, MediaInfo
from syncflow.media.process import last_line, run_command
from syncflow.media.spans import Span
from syncflow.records import ClipSpec

_CONTAINERS = ("mov", "matroska", "avi")


def decord_frames(
    path: Path, span: Span, *, info: MediaInfo, spec: ClipSpec, timeout_s: float, limits: Limits
) -> list[np.ndarray]:
    """The frames of each window of a stretch, uint8 `f h w c`, chosen by the rule of `decode_windows`.

    Raises:
        MediaError: unsupported, undecodable, timeout, out_of_memory.
    """
    _require_plain(path, info)
    times = np.asarray(info.frame_times_s)
    wanted = np.concatenate([np.arange(first, last + 1) for first, last in span.runs])
    shown_by = span.start_s + (wanted + 0.5) / spec.fps
    indices = np.maximum(np.searchsorted(times, shown_by, side="left") - 1, 0)
    scale = max(spec.height / info.height, spec.width / info.width)
    height = max(spec.height, math.floor(info.height * scale + 0.5))
    width = max(spec.width, math.floor(info.width * scale + 0.5))
    request = {
        "path": str(path),
        "width": width,
        "height": height,
        "indices": indices.tolist(),
        "num_frames": len(times),
    }
    size = len(indices) * height * width * 3
    done = run_command(
        [sys.executable, "-I", decord_child.__file__, json.dumps(request)],
        timeout_s=timeout_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=(size,),
    )
    if done.returncode == decord_child.DISAGREES:
        raise MediaError("unsupported", f"{path}: decord: {last_line(done.messages)}; use ffmpeg")
    if done.returncode != 0 or len(done.outputs[0]) != size:
        raise MediaError("undecodable", f"{path}: decord: {last_line(done.messages)}")
    frames = np.frombuffer(done.outputs[0], dtype=np.uint8).reshape(-1, height, width, 3)
    top, left = (height - spec.height) // 2, (width - spec.width) // 2
    frames = frames[:, top : top + spec.height, left : left + spec.width]
    return [frames[offset : offset + spec.num_frames] for offset in span.offsets()]


def _require_plain(path: Path, info: MediaInfo) -> None:
    problem = None
    if not str(path).isascii() and any("\ud800" <= sign <= "\udfff" for sign in str(path)):
        raise MediaError("unsupported", f"{path}: decord backend: a name that is no UTF-8; use ffmpeg")
    if not info.container.startswith(_CONTAINERS):
        problem = f"container {info.container!r} has no frame index"
    elif info.frame_times_s[0] < -1e-3:
        problem = "frames before time 0 (a cut without re-encoding)"
    elif len(set(info.frame_times_s)) != len(info.frame_times_s):
        problem = "two frames at one time"
    elif info.display_matrix or info.pixel_aspect != 1.0:
        problem = "rotated or mirrored video, or oblong pixels"
    elif info.interlaced or info.untagged_hd or info.lacks_times:
        problem = "interlaced video, colours without a tag, or frames without times"
    if problem:
        raise MediaError("unsupported", f"{path}: decord backend: {problem}; use ffmpeg")
