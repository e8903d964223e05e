"""ClipRef -> DecodedClip: plan a clip's windows, decode and score them. Bad media costs one row."""

from preprocessing.decode_config import DecodeConfig, WindowConfig
from preprocessing.filters import score_window
from preprocessing.windows import window_starts
from syncflow.hashing import file_sha256
from syncflow.media import Limits, MediaError, decode_windows, probe
from syncflow.records import ClipRef, ClipSpec, DecodedClip, DecodedWindow, Dropped


class DecodeStep:
    """Decodes a clip's windows on the grid of `spec`; one result for each input.

    Args:
        config: decoder and caps.
        spec: what a window is.
        windows: which windows of a clip.
    """

    def __init__(self, config: DecodeConfig, spec: ClipSpec, windows: WindowConfig) -> None:
        self.config, self.spec, self.windows = config, spec, windows
        self.limits = Limits(
            memory_bytes=config.memory_mib << 20,
            max_pixels=config.max_pixels,
            max_seconds=config.max_seconds,
        )

    def __call__(self, batch: list[ClipRef]) -> list[DecodedClip | Dropped]:
        return [self._decode(ref) for ref in batch]

    def _decode(self, ref: ClipRef) -> DecodedClip | Dropped:
        try:
            return self._decode_all(ref)
        except MediaError as error:
            return Dropped(ref=ref, kind="failed", reason=error.reason, detail=error.detail)
        except OSError as error:  # the file went away, or its disk did, between two reads
            return Dropped(ref=ref, kind="failed", reason="unreadable", detail=str(error))

    def _decode_all(self, ref: ClipRef) -> DecodedClip:
        config, spec = self.config, self.spec
        info = probe(ref.path, timeout_s=config.timeout_s, limits=self.limits)
        if not info.has_video:
            raise MediaError("no_video", f"{ref.path}: no picture stream")
        if not info.has_audio:
            raise MediaError("no_audio", f"{ref.path}: no sound stream")
        first, last = info.common_span_s
        starts = window_starts(ref, span_s=(first, last), spec=spec, config=self.windows)
        if not starts:
            raise MediaError(
                "too_short",
                f"{ref.path}: no window of {spec.seconds:g} s; both streams span {first:.3f} to {last:.3f} s",
            )
        if len(starts) > config.max_windows:
            raise MediaError("too_large", f"{ref.path}: {len(starts)} windows, over {config.max_windows}")
        decoded = decode_windows(
            ref.path,
            starts_s=starts,
            spec=spec,
            backend=config.backend,
            timeout_s=config.timeout_s,
            limits=self.limits,
            info=info,
        )
        windows = [
            DecodedWindow(index=k, start_s=start_s, frames=frames, audio=audio)
            for k, (start_s, (frames, audio)) in enumerate(zip(starts, decoded, strict=True))
        ]
        return DecodedClip(
            ref=ref,
            source_sha256=file_sha256(ref.path),
            windows=tuple(windows),
            scores=tuple(score_window(window, sample_rate=spec.sample_rate) for window in windows),
        )
