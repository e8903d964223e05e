"""Read and write clips: the only caller of ffmpeg and decord (rules: docs/decoding.md)."""

from syncflow.media.encode import write_clip
from syncflow.media.errors import MediaError, Reason

__all__ = ["MediaError", "Reason", "write_clip"]
