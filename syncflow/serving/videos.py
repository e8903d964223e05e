"""Uploaded videos: received within limits, looked at before anything else, cut to a clip's window."""

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from syncflow.config import Config
from syncflow.media import Limits, MediaError, MediaInfo, decode_audio, decode_frames, probe, write_clip
from syncflow.records import ClipSpec
from syncflow.serving.config import LimitsConfig
from syncflow.serving.request import RequestError

MIB = 1 << 20
DECODERS = 2  # uploads that are decoded at once


class UploadedVideo(Config):
    """An upload that can be read."""

    id: str
    """By which a request names it."""
    seconds: float
    """Length of its video stream."""
    width: int
    """Pixels as shown."""
    height: int
    """Pixels as shown."""
    fps: float
    """Mean frames per second."""
    has_audio: bool
    """Whether it has an audio stream."""


class VideoShelf:
    """Uploads by id, at most `limits.uploads` of them: a file's name never comes from a client."""

    def __init__(self, folder: Path, limits: LimitsConfig) -> None:
        self._folder, self._limits = folder.resolve(), limits
        self._folder.mkdir(parents=True, exist_ok=True)
        self._decoders = threading.Semaphore(DECODERS)
        self._media = Limits(max_seconds=limits.upload_seconds)
        for left in self._folder.glob("*.partial"):
            left.unlink(missing_ok=True)

    def writer(self) -> "UploadWriter":
        """Receives one upload."""
        return UploadWriter(self._folder / f"{secrets.token_hex(16)}.partial", self._limits)

    def add(self, chunks: Iterable[bytes]) -> UploadedVideo:
        """Receive and look at one upload. Raises RequestError as `UploadWriter.write` and `finish`."""
        with self.writer() as upload:
            for chunk in chunks:
                upload.write(chunk)
            return self.finish(upload)

    def finish(self, upload: "UploadWriter") -> UploadedVideo:
        """Keep what was received, if it can be read.

        Raises:
            RequestError: it is no video, or one that is too large or too long.
        """
        path = upload.close()
        info = self._looked_at(path)
        kept = path.with_suffix("")
        path.rename(kept)
        for old in sorted(self._files(), key=lambda file: file.stat().st_mtime)[: -self._limits.uploads]:
            for file in [old, *self._folder.glob(f"{old.name}.*")]:
                file.unlink(missing_ok=True)
        return UploadedVideo(
            id=kept.name,
            seconds=info.video_end_s,
            width=info.width,
            height=info.height,
            fps=info.fps,
            has_audio=info.has_audio,
        )

    def window(self, video: str, *, start_s: float, spec: ClipSpec) -> Path:
        """The clip that begins at `start_s` seconds, cut from the upload in the size and rate of `spec`.

        It has the upload's own audio, or silence. The file is kept as long as the upload.

        Raises:
            RequestError: no such upload, or one that is broken, or too short.
        """
        start_s = round(start_s * spec.fps) / spec.fps
        key = f"{start_s:g}-{spec.seconds:g}-{spec.width}x{spec.height}"
        target = self._folder / f"{video}.{key}.mp4"
        if not target.is_file():
            self._write_window(video, start_s=start_s, spec=spec, target=target)
        return target

    def _write_window(self, video: str, *, start_s: float, spec: ClipSpec, target: Path) -> None:
        path = self._folder / video
        if not path.is_file():
            raise RequestError(f"video {video[:40]!r}: not known; upload it again", status=404)
        info = self._looked_at(path)
        with self._decoders, _refusing(path, start_s=start_s, spec=spec, info=info):
            frames = decode_frames(path, start_s=start_s, spec=spec, info=info)
            audio = np.zeros(spec.num_samples, dtype=np.float32)
            if info.has_audio and info.audio_end_s >= start_s + spec.seconds:
                audio = decode_audio(
                    path, sample_rate=spec.sample_rate, start_s=start_s, seconds=spec.seconds
                )
            write_clip(target, frames=frames, audio=audio, fps=spec.fps, sample_rate=spec.sample_rate)

    def _looked_at(self, path: Path) -> MediaInfo:
        with self._decoders, _refusing(path):
            info = probe(path, limits=self._media)
        if not info.has_video:
            raise RequestError("video: the file has no video stream; upload one that has")
        return info

    def _files(self) -> list[Path]:
        return [file for file in self._folder.iterdir() if file.suffix == ""]


class UploadWriter:
    """One upload on its way to disk; leaving the block removes what was not kept."""

    def __init__(self, path: Path, limits: LimitsConfig) -> None:
        self._path, self._most = path, limits.upload_mib * MIB
        self._file = path.open("xb")

    def __enter__(self) -> "UploadWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Raises RequestError (413) when the upload has become too large."""
        if self._file.tell() + len(chunk) > self._most:
            raise RequestError(f"video: over {self._most // MIB} MiB; upload a shorter one", status=413)
        self._file.write(chunk)

    def close(self) -> Path:
        """The received file."""
        self._file.close()
        return self._path


@contextmanager
def _refusing(
    path: Path, *, start_s: float = 0.0, spec: ClipSpec | None = None, info: MediaInfo | None = None
) -> Iterator[None]:
    """What is wrong with `path` as one line that names no path of the server."""
    try:
        yield
    except MediaError as error:
        if error.reason == "too_short" and spec is not None and info is not None:
            raise RequestError(
                f"video: {info.video_end_s:.2f} s long, and the clip would be {spec.seconds:g} s from "
                f"{start_s:g} s on; begin earlier or make a shorter clip"
            ) from None
        detail = " ".join(error.detail.replace(str(path), "").split()).strip(": ")[:200]
        what = f"{error.reason} ({detail})" if detail else error.reason
        raise RequestError(f"video: {what}; upload another file") from None
