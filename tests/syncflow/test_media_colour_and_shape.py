"""Colours, fields, mirrored frames and channels: the values that they must have."""

from pathlib import Path

import numpy as np
import pytest

from syncflow.media import (
    Backend,
    MediaError,
    decode_audio,
    decode_frames,
    decode_windows,
    probe,
)
from syncflow.records import ClipSpec
from tests.media_case import ffmpeg

SPEC = ClipSpec(seconds=0.5, height=64, width=64)
GREEN = (0, 192, 0)


def plain(path: Path, *, size: str, matrix: str, tags: list[str]) -> Path:
    """A second of green, converted by `matrix`, in H.264 with such tags."""
    convert = f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p"
    told = ":".join(tags or ["colorspace=unknown", "color_primaries=unknown", "color_trc=unknown"])
    source = f"color=0x{bytes(GREEN).hex()}:s={size}:r=10:d=1"
    ffmpeg(
        "-f", "lavfi", "-i", source, "-vf", f"{convert},setparams={told}", "-c:v", "libx264", "-qp", 4, path
    )
    return path


@pytest.mark.parametrize(
    ("size", "matrix", "tagged"),
    [
        ("1280x720", "bt709", False),
        ("720x1280", "bt709", False),
        ("640x480", "bt601", False),
        ("1280x720", "bt601", True),
        ("640x480", "bt709", True),
    ],
)
def test_the_colour_matrix_is_that_of_the_tag_or_else_of_the_size(
    tmp_path: Path, size: str, matrix: str, tagged: bool
) -> None:
    names = {"bt709": "bt709", "bt601": "smpte170m"}
    tags = [f"colorspace={names[matrix]}"] if tagged else []
    frames = decode_frames(
        plain(tmp_path / "a.mp4", size=size, matrix=matrix, tags=tags), start_s=0.0, spec=SPEC
    )
    assert np.abs(frames.mean(axis=(0, 1, 2)) - GREEN).max() <= 3


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_high_dynamic_range_is_refused_by_name(tmp_path: Path, transfer: str) -> None:
    tags = [f"color_trc={transfer}", "color_primaries=bt2020", "colorspace=bt2020nc"]
    path = plain(tmp_path / "a.mkv", size="160x120", matrix="bt2020", tags=tags)
    with pytest.raises(MediaError) as caught:
        decode_frames(path, start_s=0.0, spec=SPEC)
    assert caught.value.reason == "hdr" and transfer in caught.value.detail


@pytest.fixture(scope="module")
def quarters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of red above blue, whose left half is brighter, and a tone."""
    path = tmp_path_factory.mktemp("clips") / "quarters.mp4"
    draw = "drawbox=y=60:h=60:w=160:c=blue:t=fill,drawbox=x=80:w=80:h=120:c=black@0.5:t=fill"
    video = ["-f", "lavfi", "-i", "color=red:s=160x120:r=25:d=1", "-vf", draw, "-c:v", "libx264"]
    ffmpeg("-f", "lavfi", "-i", "sine=d=1:r=48000", *video, "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


@pytest.mark.parametrize("backend", ["ffmpeg", "decord"])
@pytest.mark.parametrize("option", ["-display_vflip", "-display_hflip", "-display_rotation 180"])
def test_mirrored_and_turned_frames_are_shown_as_told_or_refused(
    quarters: Path, tmp_path: Path, option: str, backend: Backend
) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg(*option.split(), "-i", quarters, "-c", "copy", path)
    assert probe(path).display_matrix and not probe(quarters).display_matrix
    if backend == "decord":
        with pytest.raises(MediaError, match="unsupported"):
            decode_windows(path, starts_s=[0.0], spec=SPEC, backend=backend)
        return
    (upright,) = decode_windows(quarters, starts_s=[0.0], spec=SPEC)
    (turned,) = decode_windows(path, starts_s=[0.0], spec=SPEC)
    rows, columns = option != "-display_hflip", option != "-display_vflip"
    expected = upright.frames[:, :: -1 if rows else 1, :: -1 if columns else 1]
    assert np.abs(turned.frames.astype(int) - expected).mean() < 3
    assert np.abs(turned.frames.astype(int) - upright.frames).mean() > 20


def test_interlaced_frames_are_deinterlaced(tmp_path: Path) -> None:
    """A bar that moves between two fields leaves no comb of alternate rows."""
    bar = (
        "color=black:s=160x120:r=50:d=2[ground];color=white:s=40x120:r=50:d=2[bar];"
        "[ground][bar]overlay=x='mod(n*4,120)'"
    )
    fields = ["-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ildct+ilme"]
    coded = [*fields, "-c:v", "mpeg2video", "-q:v", "2", "-c:a", "pcm_s16le"]
    path = tmp_path / "interlaced.mov"
    ffmpeg("-f", "lavfi", "-i", bar, "-f", "lavfi", "-i", "sine=d=2:r=48000", *coded, path)
    assert probe(path).interlaced
    spec = ClipSpec(seconds=1.0, height=120, width=120)
    (window,) = decode_windows(path, starts_s=[0.5], spec=spec)
    grey = window.frames.astype(int).mean(axis=3)
    comb = np.abs(2 * grey[:, 1:-1] - grey[:, :-2] - grey[:, 2:]).mean()
    raw = tmp_path / "raw.rgb"
    ffmpeg("-i", path, "-vf", "crop=120:120", "-pix_fmt", "gray", "-f", "rawvideo", raw)
    combed = np.fromfile(raw, np.uint8).reshape(-1, 120, 120).astype(int)
    assert comb < 0.25 * np.abs(2 * combed[:, 1:-1] - combed[:, :-2] - combed[:, 2:]).mean()
    assert window.video_decoded == 1.0


@pytest.mark.parametrize("order", [1, 2])
def test_ambisonic_audio_is_its_omnidirectional_channel(tmp_path: Path, order: int) -> None:
    others = "|0.3*sin(2*PI*3000*t)" * ((order + 1) ** 2 - 1)
    source = f"aevalsrc='0.4*sin(2*PI*440*t)'{others}:s=48000:d=1:c=ambisonic {order}"
    path = tmp_path / "ambisonic.mkv"
    ffmpeg("-f", "lavfi", "-i", source, "-c:a", "libopus", "-mapping_family", "2", path)
    assert probe(path).ambisonic
    spectrum = np.abs(np.fft.rfft(decode_audio(path, sample_rate=48_000)[:48_000]))
    assert spectrum.argmax() == 440 and spectrum[2990:3010].max() < 0.01 * spectrum.max()


@pytest.mark.parametrize(
    ("second", "lost"),
    [("0.4*sin(2*PI*440*t)", 0.0), ("-0.4*sin(2*PI*440*t)", 1.0), ("0.4*sin(2*PI*700*t)", 0.5)],
)
def test_the_power_that_channels_cancel_is_told(tmp_path: Path, second: str, lost: float) -> None:
    source = f"aevalsrc='0.4*sin(2*PI*440*t)|{second}':s=48000:d=1"
    video = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=16:d=1", "-c:v", "libx264"]
    ffmpeg("-f", "lavfi", "-i", source, *video, "-c:a", "pcm_s16le", tmp_path / "a.mkv")
    (window,) = decode_windows(tmp_path / "a.mkv", starts_s=[0.0], spec=SPEC)
    assert window.phase_cancellation == pytest.approx(lost, abs=0.01)


def test_a_plain_mix_is_the_average_whatever_the_number_of_channels(tmp_path: Path) -> None:
    for count in (1, 2, 6, 8, 16):
        levels = "|".join(f"{0.05 * (k + 1)}" for k in range(count))
        path = tmp_path / f"{count}.wav"
        ffmpeg("-f", "lavfi", "-i", f"aevalsrc='{levels}':s=48000:d=0.5", "-c:a", "pcm_f32le", path)
        assert decode_audio(path, sample_rate=48_000)[1000] == pytest.approx(0.025 * (count + 1), abs=1e-4)
