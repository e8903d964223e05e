"""Clips of known truth: a flash and a beep at every whole second, and the law that holds for them."""

import subprocess

import numpy as np

from syncflow.media import MediaWindow
from syncflow.media.process import ffmpeg_binary
from syncflow.records import ClipSpec

SPEC = ClipSpec(height=32, width=32)
TONE = "0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.05)"


def ffmpeg(*arguments: object) -> None:
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def flashes_and_beeps(
    *, seconds: float = 5, size: str = "160x120", fps: int = 25, rate: int = 48_000, layout: str = "mono"
) -> list[str]:
    """Inputs: a flash of 0.12 s and, in each of the `layout`'s channels, a beep of 0.05 s at every whole
    second.
    """
    channels = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8, "22.2": 24}[layout]
    video = f"color=black:s={size}:r={fps}:d={seconds},drawbox=c=white:t=fill:enable='lt(mod(t,1),0.12)'"
    tones = "|".join([f"'{TONE}'"] * channels)
    audio = f"aevalsrc={tones}:s={rate}:d={seconds}:c={layout}"
    return ["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio]


def beeps_of(window: MediaWindow) -> np.ndarray:
    """Where the beeps of a window begin, seconds from its start."""
    loud = np.flatnonzero(np.abs(window.audio) > 0.1)
    return loud[np.diff(loud, prepend=-SPEC.sample_rate) > SPEC.sample_rate // 10] / SPEC.sample_rate


def assert_in_sync(
    windows: list[MediaWindow], starts_s: list[float], *, first_s: float, count: int, audio_s: float = 0.005
) -> None:
    """Flashes within half a frame, beeps within 5 ms of whole seconds after `first_s`; `count` per window."""
    for start_s, window in zip(starts_s, windows, strict=True):
        beeps = beeps_of(window)
        bright = window.frames.mean(axis=(1, 2, 3)) > 100
        flashes = np.flatnonzero(bright & ~np.concatenate([[True], bright[:-1]])) / SPEC.fps
        assert len(beeps) == len(flashes) == count, (start_s, beeps, flashes)
        for times, most_s in ((beeps, audio_s), (flashes, 0.5 / SPEC.fps + 1e-6)):
            away = start_s + times - first_s
            assert np.abs(away - np.round(away)).max() <= most_s, (start_s, times)
        assert window.video_decoded == 1.0 and window.audio_decoded > 0.99
