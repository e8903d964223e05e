"""ClipRef -> DecodedClip: plan a clip's windows, decode and score them. Bad media costs one row."""

import errno
from pathlib import Path
from typing import Literal

import numpy as np

from preprocessing.decode_config import DecodeConfig, WindowConfig
from preprocessing.filters import media_scores, score_window
from preprocessing.opened_source import OpenedSource, SourceOpener
from preprocessing.windows import window_starts
from syncflow.media import Limits, MediaError, MediaInfo, decode_frames_at, decode_windows
from syncflow.records import ClipRef, ClipSpec, DecodedClip, DecodedWindow, Dropped

# what is true of an audio file, and no fault: such clips are rejected, and do not count as failures
REJECTED = frozenset(("no_video", "no_audio", "too_short", "hdr", "edit_list"))
MISSING = frozenset(("not_a_file", "unreadable"))  # a file that cannot be read now, and may be one day


class DecodeStep:
    """Decodes a clip's windows on the grid of `spec`; one result for each input.

    A remote file is brought here for as long as it is decoded. The clips of one file that come one after
    another share its probe, its hash and its copy.

    Args:
        config: decoder and caps.
        spec: what a window is.
        windows: which windows of a clip.
        overview_frames: frames of the whole clip to decode for its caption; 0 for none.
    """

    def __init__(
        self, config: DecodeConfig, spec: ClipSpec, windows: WindowConfig, *, overview_frames: int = 0
    ) -> None:
        self.config, self.spec, self.windows = config, spec, windows
        self.overview_frames = overview_frames
        self.limits = Limits(
            memory_bytes=config.memory_mib << 20,
            max_pixels=config.max_pixels,
            max_seconds=config.max_seconds,
        )
        self.opener = SourceOpener(config, self.limits)

    def __call__(self, batch: list[ClipRef]) -> list[DecodedClip | Dropped]:
        return [self._decode(ref) for ref in batch]

    def _decode(self, ref: ClipRef) -> DecodedClip | Dropped:
        if ref.known_bad:
            reason, detail = f"known_bad_{ref.known_bad}", "a list of known bad clips names it"
            return Dropped(ref=ref, kind="rejected", reason=reason, detail=detail)
        try:
            return self._decode_file(ref, self.opener.open(ref.path))
        except OSError as error:  # not fetched; or the file went away, or its disk did, between two reads
            reason, detail = _reason(error), " ".join(str(error).split())[:500]
            return Dropped(ref=ref, kind=_kind(reason), reason=reason, detail=detail)

    def _decode_file(self, ref: ClipRef, source: OpenedSource) -> DecodedClip | Dropped:
        try:
            return self._lengths_differ(ref, source.info) or self._decode_all(ref, source)
        except MediaError as error:
            return Dropped(
                ref=ref,
                kind=_kind(error.reason),
                reason=error.reason,
                detail=error.detail.replace(str(source.path), str(ref.path)),
                source_sha256=source.sha256,
            )

    def _lengths_differ(self, ref: ClipRef, info: MediaInfo) -> Dropped | None:
        picture_s = info.video_end_s - max(0.0, info.video_start_s)
        sound_s = info.audio_end_s - max(0.0, info.audio_start_s)
        apart_s = abs(picture_s - sound_s)
        if not (info.has_video and info.has_audio) or apart_s <= self.config.max_length_difference_s:
            return None
        detail = (
            f"video of {picture_s:.3f} s, audio of {sound_s:.3f} s; decode.max_length_difference_s is "
            f"{self.config.max_length_difference_s:g}"
        )
        return Dropped(ref=ref, kind="rejected", reason="lengths_differ", detail=detail)

    def _decode_all(self, ref: ClipRef, source: OpenedSource) -> DecodedClip:
        config, spec, path, info = self.config, self.spec, source.path, source.info
        if not info.has_video:
            raise MediaError("no_video", f"{path}: no video stream")
        if not info.has_audio:
            raise MediaError("no_audio", f"{path}: no audio stream")
        first, last = info.common_span_s
        starts = window_starts(ref, span_s=(first, last), spec=spec, config=self.windows)
        if not starts:
            raise MediaError(
                "too_short",
                f"{path}: no window of {spec.seconds:g} s; both streams span {first:.3f} to {last:.3f} s",
            )
        if len(starts) > config.max_windows:
            raise MediaError("too_large", f"{path}: {len(starts)} windows, over {config.max_windows}")
        decoded = decode_windows(
            path,
            starts_s=starts,
            spec=spec,
            backend=config.backend,
            timeout_s=config.timeout_s,
            limits=self.limits,
            info=info,
        )
        windows = tuple(
            DecodedWindow(index=k, start_s=start_s, frames=each.frames, audio=each.audio)
            for k, (start_s, each) in enumerate(zip(starts, decoded, strict=True))
        )
        begin_s = max(first, ref.start_s)
        end_s = last if ref.duration_s is None else min(last, ref.start_s + ref.duration_s)
        return DecodedClip(
            ref=ref,
            source_sha256=source.sha256,
            windows=windows,
            scores=tuple(
                score_window(window, spec=spec) | media_scores(each) | {"clip_seconds": end_s - begin_s}
                for window, each in zip(windows, decoded, strict=True)
            ),
            overview=self._overview(path, info, begin_s, end_s) if self.overview_frames else None,
        )

    def _overview(self, path: Path, info: MediaInfo, begin_s: float, end_s: float) -> np.ndarray:
        """The middle frame of each of so many equal parts of the clip."""
        part_s = (end_s - begin_s) / self.overview_frames
        return decode_frames_at(
            path,
            times_s=[begin_s + (k + 0.5) * part_s for k in range(self.overview_frames)],
            spec=self.spec,
            timeout_s=self.config.timeout_s,
            limits=self.limits,
            info=info,
        )


def _kind(reason: str) -> Literal["rejected", "failed", "missing"]:
    if reason in MISSING:
        return "missing"
    return "rejected" if reason in REJECTED else "failed"


def _reason(error: OSError) -> str:
    """The name of what went wrong with a file, as `MediaError` has them."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, FileNotFoundError):
        return "not_a_file"
    return "too_large" if error.errno == errno.EFBIG else "unreadable"
