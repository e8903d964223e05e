"""Settings of windows, decoding and filters (no torch)."""

from typing import Annotated, Literal

from pydantic import Field

from syncflow.config import Config, Role


class WindowConfig(Config):
    """Which windows of a clip are used."""

    mode: Literal["sampled", "grid", "all"] = "sampled"
    """`sampled`: `count` windows at seeded random starts; `grid`: `count` windows spread evenly, each at a
    seeded random start in its own part of the clip (many of them stand for the paper's random 2 s); `all`:
    every non-overlapping one, the remainder dropped."""
    count: int = Field(default=1, ge=1, le=1000)
    """K, windows per clip, of the modes `sampled` and `grid`. They may overlap, and none comes twice: a clip
    with room for fewer gives fewer."""
    seed: int = 0
    """Seed of the random starts."""


class DecodeConfig(Config):
    """How clips are read, and what one may cost."""

    backend: Literal["ffmpeg", "decord"] = "ffmpeg"
    """Decoder of the video; audio is always decoded by ffmpeg."""
    timeout_s: Annotated[float, Role.WORK] = Field(default=30.0, gt=0)
    """Wall-clock limit of each decoding process, seconds, to which the length of what it decodes is added."""
    memory_mib: Annotated[int, Role.WORK] = Field(default=4096, ge=256)
    """Limit of a decoding process's address space, MiB."""
    max_pixels: Annotated[int, Role.WORK] = Field(default=4096 * 2304, ge=1)
    """Largest number of pixels of a source frame."""
    max_seconds: Annotated[float, Role.WORK] = Field(default=3600.0, gt=0)
    """Longest source file, seconds."""
    max_windows: Annotated[int, Role.WORK] = Field(default=200, ge=1)
    """Most windows of one clip (6.7 MB each at the paper's size); a clip with more fails as too_large."""
    max_length_difference_s: float = Field(default=0.1, ge=0)
    """Largest difference in length between a file's audio and video, seconds; above it the clip is rejected
    as lengths_differ, since the two may drift apart."""
    max_fetch_mib: Annotated[int, Role.WORK] = Field(default=2048, ge=1)
    """Largest file that is fetched from a remote root, MiB."""
    fetch_timeout_s: Annotated[float, Role.WORK] = Field(default=300.0, gt=0)
    """Wall-clock limit of fetching one remote file, seconds."""


class FilterConfig(Config):
    """Windows to leave out. A clip of which no window is left is rejected. By default only those that could
    not be decoded whole."""

    min_video_decoded: float = Field(default=0.95, ge=0, le=1)
    """Smallest share of a window's frames that must have been decoded; the others repeat the frame before,
    where packets are damaged or missing. 0 is off."""
    min_audio_decoded: float = Field(default=0.95, ge=0, le=1)
    """Smallest share of a window's samples that must have been decoded; the others are silence, where packets
    are damaged or missing, or the file has a pause. 0 is off."""
    max_phase_cancellation: float = Field(default=1.0, ge=0, le=1)
    """Largest share of the power of left and right that may be lost in their average: 0.5 for channels that
    have nothing in common, 1 for opposite ones, of which nothing is left. 1 is off."""
    min_motion: float = Field(default=0.0, ge=0)
    """Smallest mean absolute difference of successive frames, on a scale of 255."""
    max_static_fraction: float = Field(default=1.0, ge=0, le=1)
    """Largest share of successive frame pairs that may be nearly equal."""
    max_silence_fraction: float = Field(default=1.0, ge=0, le=1)
    """Largest share of 20 ms pieces of the audio that may be below -60 dBFS."""
    min_loudness_dbfs: float = Field(default=-120.0, ge=-120, le=0)
    """Smallest root mean square level of the audio, dBFS; -120 is digital silence, so the default is off."""
    max_clipping_fraction: float = Field(default=1.0, ge=0, le=1)
    """Largest share of the samples that may be at full scale."""
    min_onset_correspondence: float = Field(default=0.0, ge=0, le=1)
    """Smallest match of audio onsets and motion peaks (F1 at 0.1 s), against off-screen sounds (the paper's
    Appendix A.1). 0 is off."""
    min_clip_seconds: float = Field(default=0.0, ge=0)
    """Shortest stretch of a clip that has both audio and video, seconds."""
