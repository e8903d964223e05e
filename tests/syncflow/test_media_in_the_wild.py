"""Odd but sound files: clocks, encoder delays, rates, channels, pixel formats, names of another kind."""

from pathlib import Path

import numpy as np
import pytest

from syncflow.media import decode_frames, decode_windows, probe
from syncflow.records import ClipSpec
from tests.media_case import SPEC, TONE, assert_in_sync, ffmpeg, flashes_and_beeps

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt"]
H264, AAC = [*X264, "yuv420p", "-bf", "2"], ["-c:a", "aac"]
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof+frag_discont"
# name of the file; what the source is like; how it is encoded
CLIPS: dict[str, tuple[str, dict[str, object], list[str]]] = {
    "transport clock wraps": ("a.ts", {}, [*H264, *AAC, "-output_ts_offset", "95441.2", "-muxdelay", "0"]),
    "fragments from 1e6 s on": (
        "a.mp4",
        {},
        [*H264, *AAC, "-output_ts_offset", "1000000", "-movflags", FRAGMENTS, "-use_editlist", "0"],
    ),
    "matroska from 1e5 s on": ("a.mkv", {}, [*H264, *AAC, "-output_ts_offset", "100000"]),
    "LAME's delay, mkv": ("a.mkv", {}, [*H264, "-c:a", "libmp3lame"]),
    "LAME's delay, mp4": ("a.mp4", {"rate": 44_100, "layout": "stereo"}, [*H264, "-c:a", "libmp3lame"]),
    "LAME's delay, ts": ("a.ts", {}, [*H264, "-c:a", "libmp3lame"]),
    "AAC's delay, mkv": ("a.mkv", {"rate": 44_100}, [*H264, *AAC]),
    "AAC's delay, flv": ("a.flv", {"rate": 22_050}, [*H264, *AAC]),
    "pre-skip of Opus, mp4": ("a.mp4", {}, [*H264, "-c:a", "libopus"]),
    "pre-skip of Opus, mkv": ("a.mkv", {"layout": "5.1"}, [*H264, "-c:a", "libopus"]),
    "Vorbis": ("a.mkv", {}, [*H264, "-c:a", "libvorbis"]),
    "12 fps, 8 kHz, 10 bit": ("a.mkv", {"fps": 12, "rate": 8_000}, [*X264, "yuv420p10le", "-c:a", "flac"]),
    "15 fps, 11 kHz, 4:4:4": ("a.mkv", {"fps": 15, "rate": 11_025}, [*X264, "yuv444p", "-c:a", "pcm_s16le"]),
    "24 fps, 96 kHz, 5.1, 4:2:2": (
        "a.mov",
        {"fps": 24, "rate": 96_000, "layout": "5.1"},
        [*X264, "yuv422p10le", "-c:a", "pcm_s24le"],
    ),
    "60 fps, 192 kHz, 7.1": (
        "a.mkv",
        {"fps": 60, "rate": 192_000, "layout": "7.1"},
        [*H264, "-c:a", "pcm_s16le"],
    ),
    "120 fps, 22.2": ("a.mkv", {"fps": 120, "layout": "22.2"}, [*X264, "gray", "-c:a", "pcm_s16le"]),
    "RGB": ("a.mkv", {}, ["-c:v", "libx264rgb", "-preset", "ultrafast", "-pix_fmt", "rgb24", *AAC]),
    "HEVC, 10 bit": (
        "a.mp4",
        {"fps": 50},
        [
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=none",
            "-pix_fmt",
            "yuv420p10le",
        ],
    ),
    "AV1": (
        "a.mp4",
        {},
        ["-c:v", "libaom-av1", "-cpu-used", "8", "-b:v", "200k", "-pix_fmt", "yuv420p", *AAC],
    ),
    "alpha, VP9": (
        "a.webm",
        {},
        [
            "-c:v",
            "libvpx-vp9",
            "-threads",
            "1",
            "-speed",
            "8",
            "-b:v",
            "200k",
            "-pix_fmt",
            "yuva420p",
            "-c:a",
            "libopus",
        ],
    ),
    "alpha, Animation": ("a.mov", {}, ["-c:v", "qtrle", "-pix_fmt", "argb", "-c:a", "pcm_s16le"]),
    "alpha, ProRes": (
        "a.mov",
        {},
        ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le", "-c:a", "pcm_s24le"],
    ),
    "Motion JPEG": ("a.avi", {}, ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"]),
    "matroska named mp4": ("a.mp4", {}, [*H264, *AAC, "-f", "matroska"]),
    "mp4 named webm": ("a.webm", {}, [*H264, *AAC, "-f", "mp4"]),
    "transport stream named avi": ("a.avi", {}, [*H264, *AAC, "-f", "mpegts"]),
    "avi named mpg": (
        "a.mpg",
        {},
        ["-c:v", "mpeg4", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le", "-f", "avi"],
    ),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_an_odd_but_sound_file_keeps_flash_and_beep_together(tmp_path: Path, kind: str) -> None:
    name, source, encoding = CLIPS[kind]
    path = tmp_path / name
    ffmpeg(*flashes_and_beeps(seconds=3, size="64x48", **source), *encoding, path)
    info = probe(path)
    assert 2.9 < info.duration_s < 3.3 and info.video_start_s < 0.1
    windows = decode_windows(path, starts_s=[0.5], spec=SPEC, info=info)
    assert_in_sync(windows, [0.5], first_s=info.video_start_s, count=2)


def test_a_gap_in_the_audio_is_silence_of_its_own_length(tmp_path: Path) -> None:
    """A pause of which the container holds no packets: what comes after it is not moved into it."""
    path = tmp_path / "gap.mkv"
    dropped = "aselect='not(between(t,1.2,1.9))'"
    ffmpeg(*flashes_and_beeps(seconds=4, size="64x48"), "-af", dropped, *H264, "-c:a", "pcm_s16le", path)
    (window,) = decode_windows(path, starts_s=[0.5], spec=ClipSpec(seconds=3, height=32, width=32))
    loud = np.flatnonzero(np.abs(window.audio) > 0.1)
    beeps = 0.5 + loud[np.diff(loud, prepend=-48_000) > 4_800] / 48_000
    assert np.abs(beeps - np.round(beeps)).max() <= 0.005 and len(beeps) == 3
    assert 0.7 < window.audio_decoded < 0.85 and window.video_decoded == 1.0


def test_a_cover_before_the_film_is_not_the_film(tmp_path: Path) -> None:
    cover, film, path = tmp_path / "cover.png", tmp_path / "film.mp4", tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64:d=1", "-frames:v", 1, cover)
    ffmpeg(*flashes_and_beeps(seconds=3, size="64x48"), *H264, *AAC, film)
    attached = ["-map", "0:v", "-map", "1:v", "-map", "1:a", "-c", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", cover, "-i", film, *attached, path)
    assert_in_sync(decode_windows(path, starts_s=[0.5], spec=SPEC), [0.5], first_s=0.0, count=2)


@pytest.mark.parametrize(("shape", "columns"), [("2/1", (50, 60)), ("1/2", (0, 160))], ids=["wide", "tall"])
def test_oblong_pixels_are_made_square(tmp_path: Path, shape: str, columns: tuple[int, int]) -> None:
    """Of 160 x 120 pixels twice as wide as high, the centre square is 60 columns from the 50th on."""
    path, (first, count) = tmp_path / "a.mp4", columns
    box = f"drawbox=x={first}:w={count}:y=0:h=120:c=lime:t=fill"
    tall = ",drawbox=y=0:h=20:w=160:c=red:t=fill,drawbox=y=100:h=20:w=160:c=red:t=fill" if count > 100 else ""
    video = f"color=red:s=160x120:r=10:d=1,{box}{tall},setsar={shape}"
    ffmpeg(
        "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", f"aevalsrc='{TONE}':s=48000:d=1", *H264, *AAC, path
    )
    frames = decode_frames(path, start_s=0.0, spec=ClipSpec(seconds=0.5, height=60, width=60))
    inner = frames[:, 2:-2, 2:-2].mean(axis=(0, 1, 2))
    assert inner[1] > 200 and inner[0] < 40
