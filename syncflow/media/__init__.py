"""Read and write clips: the only caller of ffmpeg and decord (rules: docs/decoding.md)."""

from syncflow.media.decode import Backend, MediaWindow, decode_window, decode_windows
from syncflow.media.decode_stream import decode_audio, decode_frames, decode_frames_at
from syncflow.media.encode import write_clip
from syncflow.media.errors import MediaError, Reason
from syncflow.media.probe import Limits, MediaInfo, probe

__all__ = [
    "Backend",
    "Limits",
    "MediaError",
    "MediaInfo",
    "MediaWindow",
    "Reason",
    "decode_audio",
    "decode_frames",
    "decode_frames_at",
    "decode_window",
    "decode_windows",
    "probe",
    "write_clip",
]
