"""Sound and picture come out when the file says they do."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from syncflow.media import (
    Backend,
    MediaError,
    decode_frames,
    decode_window,
    decode_windows,
    probe,
    write_clip,
)
from syncflow.media.process import ffmpeg_binary
from syncflow.records import ClipSpec

SPEC = ClipSpec(height=64, width=64)
SYNC0, LATE = "derived_flash_beep_sync0.mp4", "derived_flash_beep_audio_start250ms.mp4"


def events(path: Path, start_s: float, backend: Backend = "ffmpeg") -> tuple[np.ndarray, np.ndarray]:
    """Starts of beeps and of flashes, seconds in the file."""
    frames, audio = decode_window(path, start_s=start_s, spec=SPEC, backend=backend)
    loud = np.flatnonzero(np.abs(audio) > 0.05)
    beeps = loud[np.diff(loud, prepend=-SPEC.sample_rate) > SPEC.sample_rate // 10]
    bright = frames.mean(axis=(1, 2, 3)) > 100
    flashes = np.flatnonzero(bright & ~np.concatenate([[False], bright[:-1]]))
    return start_s + beeps / SPEC.sample_rate, start_s + flashes / SPEC.fps


def frames_of(path: Path, start_s: float) -> np.ndarray:
    return decode_window(path, start_s=start_s, spec=SPEC)[0]


@pytest.mark.parametrize("start_s", [0.0, 0.5, 2.5, 3.3125, 6.9375])
@pytest.mark.parametrize(("name", "late_s"), [(SYNC0, 0.0), (LATE, 0.25)])
def test_flash_and_beep_keep_their_times(shared: Path, name: str, late_s: float, start_s: float) -> None:
    beeps, flashes = events(shared / "data" / "clips" / name, start_s)
    assert len(beeps) == len(flashes) == 2
    assert np.abs(beeps - late_s - np.round(beeps - late_s)).max() <= 0.005
    assert np.abs(flashes - np.round(flashes)).max() <= 0.5 / SPEC.fps


@pytest.mark.parametrize("name", [SYNC0, "cc0_elf.mp4", "cc0_rabbit.webm"])
def test_decord_shows_the_same_frames(shared: Path, name: str) -> None:
    path = shared / "data" / "clips" / name
    ours, sound = decode_window(path, start_s=2.3, spec=SPEC)
    theirs, same = decode_window(path, start_s=2.3, spec=SPEC, backend="decord")
    assert np.abs(ours.astype(int) - theirs).mean(axis=(1, 2, 3)).max() < 5
    assert np.array_equal(sound, same)


@pytest.mark.parametrize("name", ["vfr_rot180_mono48k.mp4", "nasa_multistream.mp4"])
def test_decord_refuses_what_it_cannot_honour(shared: Path, name: str) -> None:
    with pytest.raises(MediaError) as caught:
        decode_window(shared / "data" / "clips" / name, start_s=0.1, spec=SPEC, backend="decord")
    assert caught.value.reason == "unsupported"


def test_rotation_is_part_of_the_shape(shared: Path) -> None:
    info = probe(shared / "data" / "clips" / "rotated90_short.mov")
    assert (info.width, info.height) == (320, 568) and not info.has_audio


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 16 fps; the grey level of frame k is 2 k."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    frames = np.zeros((96, 48, 80, 3), dtype=np.uint8)
    frames += (2 * np.arange(96, dtype=np.uint8))[:, None, None, None]
    tone = np.sin(2 * np.pi * 500 * np.arange(6 * 48_000) / 48_000)
    write_clip(path, frames=frames, audio=(0.5 * tone).astype(np.float32), fps=16, sample_rate=48_000)
    return path


@pytest.mark.parametrize("first", [0, 1, 17, 40, 63, 64])
def test_each_window_start_gives_that_very_frame(long_clip: Path, first: int) -> None:
    frames, audio = decode_window(long_clip, start_s=first / 16, spec=SPEC)
    assert frames.shape == (32, 64, 64, 3) and audio.shape == (96_000,)
    levels = frames.mean(axis=(1, 2, 3))
    assert np.abs(levels - 2 * np.arange(first, first + 32)).max() <= 1  # a neighbour differs by 2


def test_a_window_past_the_end_is_too_short(long_clip: Path) -> None:
    decode_window(long_clip, start_s=4.03, spec=SPEC)  # by under a frame: rounding
    with pytest.raises(MediaError) as caught:
        decode_window(long_clip, start_s=4.2, spec=SPEC)
    assert caught.value.reason == "too_short"


@pytest.mark.parametrize("start_s", [0.25, 2.5])
@pytest.mark.parametrize("name", ["remux.ts", "remux.mkv", "cut.mp4", "cut.mkv"])
def test_no_container_or_cut_moves_sound_against_picture(
    shared: Path, tmp_path: Path, name: str, start_s: float
) -> None:
    """A stream-copied cut leaves frames with negative times; the sound is 0.25 s late in all of them."""
    seek = ["-ss", "2.4"] if name.startswith("cut") else []
    copy = ["-i", str(shared / "data" / "clips" / LATE), "-c", "copy", str(tmp_path / name)]
    subprocess.run([ffmpeg_binary(), "-v", "error", "-nostdin", *seek, *copy], check=True)
    beeps, flashes = events(tmp_path / name, start_s)
    late_s = (beeps[:, None] - flashes[None, :] - 0.25 + 0.5) % 1.0 - 0.5
    assert np.abs(late_s).max() <= 0.5 / SPEC.fps + 0.005


def test_picture_alone_is_the_picture_of_the_window(shared: Path) -> None:
    path = shared / "data" / "clips" / SYNC0
    assert np.array_equal(decode_frames(path, start_s=2.5, spec=SPEC), frames_of(path, 2.5))


def test_picture_of_a_silent_film_is_decoded(shared: Path) -> None:
    path = shared / "data" / "clips" / "vfr_oddsize_noaudio.mp4"
    assert decode_frames(path, start_s=1.0, spec=SPEC).shape == (32, 64, 64, 3)
    with pytest.raises(MediaError, match="no_audio"):
        decode_window(path, start_s=1.0, spec=SPEC)
    with pytest.raises(MediaError, match="too_short"):
        decode_frames(path, start_s=7.0, spec=SPEC)


@pytest.mark.parametrize("name", ["cc0_rabbit.webm", "gh_hitting_metal.mp4", "derived_mpeg4_mp3.avi"])
def test_a_window_does_not_depend_on_the_others(shared: Path, name: str) -> None:
    path, starts = shared / "data" / "clips" / name, [3.5, 0.0, 2.5625]
    together = decode_windows(path, starts_s=starts, spec=SPEC)
    for start_s, window in zip(starts, together, strict=True):
        alone = decode_window(path, start_s=start_s, spec=SPEC)
        assert np.array_equal(window.frames, alone[0]) and np.array_equal(window.audio, alone[1])


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Eighty seconds of flashes and beeps; the sound is 0.25 s late."""
    path = tmp_path_factory.mktemp("film") / f"film.{request.param}"
    source = ["-stream_loop", "7", "-i", str(shared / "data" / "clips" / LATE)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *source, "-c", "copy", str(path)], check=True)
    return path


def test_a_window_deep_in_a_file_is_that_of_a_decode_from_the_start(film: Path) -> None:
    info = probe(film)
    without_index = dataclasses.replace(info, container="mpegts")
    ours = decode_windows(film, starts_s=[63.25, 66.0], spec=SPEC, info=info)
    theirs = decode_windows(film, starts_s=[63.25, 66.0], spec=SPEC, info=without_index)
    for window, slow in zip(ours, theirs, strict=True):
        assert np.array_equal(window.frames, slow.frames)
        starts = [int(np.flatnonzero(np.abs(sound) > 0.05)[0]) for sound in (window.audio, slow.audio)]
        assert abs(starts[0] - starts[1]) <= 0.002 * SPEC.sample_rate
