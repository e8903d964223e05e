"""The clips that are damaged, with the instants at which they are heard to strike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncflow.evaluation.extractors.base import DecodedMedia
from syncflow.media import MediaError, decode_window, probe
from syncflow.media.clip_folder import clip_id, media_files
from syncflow.onsets import audio_onsets
from syncflow.records import ClipSpec

TIMES = "_times.txt"  # of Greatest Hits' layout: seconds, then words


@dataclass(frozen=True, kw_only=True)
class EventClip:
    """A decoded window and the instants of its events."""

    media: DecodedMedia
    events_s: np.ndarray  # seconds from the window's start, rising


def read_clips(
    folder: Path,
    *,
    spec: ClipSpec,
    most: int,
    per_file: int,
    only: Sequence[str] = ("",),
    leave_out: Sequence[str] = (),
    every_s: float | None = None,
) -> list[EventClip]:
    """Windows of the folder's files; those that cannot be read, or have no sound, are told.

    Args:
        most: of windows in all.
        per_file: most windows of a file.
        only: beginnings of the names of files that are read.
        leave_out: beginnings of the names of files that are not read.
        every_s: seconds from one window's start to the next one's; None: a window's length.
    """
    clips: list[EventClip] = []
    for path in media_files(folder):
        chosen = path.name.startswith(tuple(only)) and not path.name.startswith(tuple(leave_out))
        if chosen and len(clips) < most:
            try:
                clips += _windows(
                    path.resolve(), spec, min(per_file, most - len(clips)), every_s or spec.seconds
                )
            except MediaError as error:
                print(f"{path.name}: not used: {error.reason}", flush=True)
    return clips


def _windows(path: Path, spec: ClipSpec, most: int, every_s: float) -> list[EventClip]:
    info = probe(path)
    if not (info.has_audio and info.has_video):
        raise MediaError("no_audio" if info.has_video else "no_video", str(path))
    begin_s, end_s = info.common_span_s
    count = min(most, 1 + math.floor((end_s - begin_s - spec.seconds) / every_s + 1e-6))
    found = []
    for start_s in begin_s + every_s * np.arange(count):
        frames, audio = decode_window(path, start_s=float(start_s), spec=spec)
        media = DecodedMedia(frames=frames, fps=spec.fps, audio=audio, sample_rate=spec.sample_rate)
        found.append(EventClip(media=media, events_s=_events(path, float(start_s), media, spec)))
    return found


def _events(path: Path, start_s: float, media: DecodedMedia, spec: ClipSpec) -> np.ndarray:
    """The known instants where a file of them lies beside the clip, else the onsets of its sound."""
    known = path.with_name(f"{clip_id(path)}{TIMES}")
    if not known.is_file():
        return audio_onsets(media.waveform, spec.sample_rate)
    times = np.array([float(line.split()[0]) for line in known.read_text("utf-8").splitlines()])
    return times[(times >= start_s) & (times < start_s + spec.seconds)] - start_s
