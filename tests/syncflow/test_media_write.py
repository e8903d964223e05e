"""Laws of written clips."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from syncflow.errors import UserError
from syncflow.media import MediaError, decode_audio, decode_window, probe, write_clip
from syncflow.records import ClipSpec

RATE = 48_000


def picture(num: int = 32, height: int = 64, width: int = 64) -> np.ndarray:
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    frame = np.broadcast_to(ramp[None, :, None], (height, width, 3))
    return np.stack([np.roll(frame, 2 * k, axis=1) for k in range(num)])


def tone(samples: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)).astype(np.float32)


def write(path: Path, *, frames: np.ndarray, audio: np.ndarray, fps: float = 16) -> None:
    write_clip(path, frames=frames, audio=audio, fps=fps, sample_rate=RATE)


@pytest.mark.parametrize(("num", "fps"), [(32, 16), (33, 30000 / 1001), (1, 16)])
def test_sound_and_picture_have_one_length(tmp_path: Path, num: int, fps: float) -> None:
    write(tmp_path / "a.mp4", frames=picture(num), audio=tone(round(num / fps * RATE)), fps=fps)
    info = probe(tmp_path / "a.mp4")
    assert len(info.frame_times_s) == num
    assert abs(len(decode_audio(tmp_path / "a.mp4", sample_rate=RATE)) / RATE - num / fps) < 0.020


def test_a_written_picture_loses_no_more_than_x264_does_at_rate_factor_18(tmp_path: Path) -> None:
    """Texture that moves: 35.0 dB at 18, 32.3 at 24, 29.2 at 30."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((128, 128, 3)), (2, 2, 0))
    field = (field - field.min()) / np.ptp(field) * 255
    spec = ClipSpec(seconds=1.0, height=64, width=64)
    frames = np.stack([field[k : k + 64, k : k + 64] for k in range(spec.num_frames)]).astype(np.uint8)
    write(tmp_path / "a.mp4", frames=frames, audio=tone(spec.num_samples))
    found, _ = decode_window(tmp_path / "a.mp4", start_s=0.0, spec=spec)
    assert 10 * np.log10(255**2 / np.mean((found.astype(float) - frames) ** 2)) > 34


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    frames, audio = picture(), tone(2 * RATE)
    write(tmp_path / "a.mp4", frames=frames, audio=audio)
    spec = ClipSpec(height=64, width=64)
    seen, heard = decode_window(tmp_path / "a.mp4", start_s=0.0, spec=spec)
    inner = slice(2048, -2048)
    assert np.abs(seen.astype(int) - frames).mean() < 6
    assert np.corrcoef(heard[inner], audio[inner])[0, 1] > 0.999


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, frames=picture(), audio=tone(2 * RATE))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sizes_gain_a_row_and_a_column(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", frames=picture(height=33, width=47), audio=tone(2 * RATE))
    info = probe(tmp_path / "a.mp4")
    assert (info.height, info.width) == (34, 48)


@pytest.mark.parametrize("samples", [RATE, 3 * RATE])
def test_lengths_that_differ_are_refused(tmp_path: Path, samples: int) -> None:
    with pytest.raises(UserError, match="samples"):
        write(tmp_path / "a.mp4", frames=picture(), audio=tone(samples))
    assert not list(tmp_path.iterdir())


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    audio = tone(2 * RATE)
    audio[7] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write(tmp_path / "a.mp4", frames=picture(), audio=audio)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    old = tmp_path / "a.mp4"
    old.write_bytes(b"old")
    with pytest.raises(MediaError) as caught:
        write_clip(old, frames=picture(), audio=tone(2 * RATE), fps=16, sample_rate=RATE, timeout_s=0.001)
    assert caught.value.reason == "timeout"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"] and old.read_bytes() == b"old"
