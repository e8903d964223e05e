"""Faults 1 to 14 of media: exactly one result each, with its reason, and never a crash."""

import dataclasses
import random
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import fsspec
import numpy as np
import pytest

from preprocessing.decode import DecodeStep
from preprocessing.decode_config import DecodeConfig, WindowConfig
from syncflow.media import write_clip
from syncflow.media.process import ffmpeg_binary
from syncflow.records import ClipRef, ClipSpec, DecodedClip, Dropped
from syncflow.storage import Location, RemoteFile, local_copy

SPEC = ClipSpec(height=32, width=32)
Result = DecodedClip | Dropped


def decode(path: Path, **settings: float) -> Result:
    step = DecodeStep(DecodeConfig.model_validate(settings), SPEC, WindowConfig())
    (result,) = step([ClipRef(dataset="d", clip_id=path.name, path=path)])
    return result


def outcome(path: Path, **settings: float) -> tuple[str, str]:
    result = decode(path, **settings)
    assert isinstance(result, Dropped) and result.detail and "\n" not in result.detail
    return result.kind, result.reason


def make(path: Path, *arguments: str) -> Path:
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", *arguments, str(path)]
    subprocess.run(command, check=True)
    return path


def test_fault_1_zero_bytes_and_2_html(tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").touch()
    assert outcome(tmp_path / "zero.mp4") == ("failed", "empty")
    (tmp_path / "page.mp4").write_text("<!DOCTYPE html><html><body>Video unavailable</body></html>")
    assert outcome(tmp_path / "page.mp4")[0] == "failed"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_fault_3_a_cut_download_is_one_result(tmp_path: Path, clip: Path, share: float) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: round(share * len(data))])
    result = decode(tmp_path / "cut.mp4")
    if share < 0.6:
        assert isinstance(result, Dropped)
    else:
        assert isinstance(result, DecodedClip) or result.reason in ("undecodable", "too_short")


def test_fault_4_no_moov(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    start = data.index(b"moov") - 4
    size = int.from_bytes(data[start : start + 4], "big")
    (tmp_path / "headless.mp4").write_bytes(data[:start] + data[start + size :])
    assert outcome(tmp_path / "headless.mp4") == ("failed", "undecodable")


@pytest.mark.parametrize("seed", range(4))
def test_fault_5_two_hundred_flipped_bits_are_one_result(tmp_path: Path, clip: Path, seed: int) -> None:
    draw, data = random.Random(seed), bytearray(clip.read_bytes())
    for _ in range(200):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    (tmp_path / "flipped.mp4").write_bytes(data)
    result = decode(tmp_path / "flipped.mp4")
    assert isinstance(result, DecodedClip) or result.reason


def test_fault_6_no_sound_and_7_no_picture_are_rejected(tmp_path: Path, clip: Path) -> None:
    mute = make(tmp_path / "mute.mp4", "-i", str(clip), "-an", "-c", "copy")
    blind = make(tmp_path / "blind.mp4", "-i", str(clip), "-vn", "-c", "copy")
    assert outcome(mute) == ("rejected", "no_audio")
    assert outcome(blind) == ("rejected", "no_video")


def test_fault_8_one_frame_is_rejected(tmp_path: Path) -> None:
    frame, audio = np.zeros((1, 64, 64, 3), np.uint8), np.zeros(3_000, np.float32)
    write_clip(tmp_path / "one.mp4", frames=frame, audio=audio, fps=16, sample_rate=48_000)
    assert outcome(tmp_path / "one.mp4") == ("rejected", "too_short")


def test_fault_9_nan_among_float_samples_fails(tmp_path: Path, clip: Path) -> None:
    audio = np.zeros(144_000, "<f4")
    audio[50_000:90_000] = np.nan  # in any window of two seconds
    (tmp_path / "nan.f32").write_bytes(audio.tobytes())
    sound = ["-f", "f32le", "-ar", "48000", "-ac", "1", "-i", str(tmp_path / "nan.f32")]
    both = ["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_f32le"]
    path = make(tmp_path / "nan.mkv", "-i", str(clip), *sound, *both)
    assert outcome(path) == ("failed", "not_finite")


def test_fault_10_sound_and_picture_of_other_lengths_are_rejected(tmp_path: Path, clip: Path) -> None:
    sound = ["-f", "lavfi", "-i", "sine=duration=3.3:sample_rate=48000"]
    path = make(tmp_path / "apart.mp4", "-i", str(clip), *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy")
    assert outcome(path) == ("rejected", "lengths_differ")
    assert isinstance(decode(path, max_length_difference_s=1.0), DecodedClip)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_fault_11_a_bomb_of_pixels_is_refused_within_a_memory_ceiling(tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "color=black:size=8192x8192:rate=1:duration=2"]
    sound = ["-f", "lavfi", "-i", "sine=duration=3:sample_rate=48000"]
    path = make(tmp_path / "bomb.mkv", *picture, *sound, "-c:v", "mjpeg", "-threads", "1")
    code = (  # getrusage would tell this process's peak too, which the child inherits
        "import resource; from pathlib import Path\n"
        "from syncflow.media import MediaError, probe\n"
        "try:\n    probe(Path(__import__('sys').argv[1])); print('opened')\n"
        "except MediaError as error:\n    print(error.reason)\n"
        "own = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "print(max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    reason, kibibytes = done.stdout.split()
    assert reason == "too_large" and outcome(path) == ("failed", "too_large")
    assert int(kibibytes) < 400 << 10  # one such frame alone is 96 MB, in RGB 192


def test_fault_12_a_decoder_that_hangs_costs_its_time_and_one_row(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = tmp_path / "ffmpeg"
    hanging.write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr("syncflow.media.process.ffmpeg_binary", lambda: str(hanging))
    monkeypatch.setattr(sys.modules["syncflow.media.probe"], "ffmpeg_binary", lambda: str(hanging))
    assert outcome(clip, timeout_s=0.3) == ("failed", "timeout")


def test_fault_13_rotation_and_variable_rate_and_14_odd_sound_are_decoded(tmp_path: Path, clip: Path) -> None:
    turned = make(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", str(clip), "-c", "copy")
    variable = ["-vf", "select=not(mod(n\\,3)*gt(n\\,16)*lt(n\\,32))", "-fps_mode", "vfr", "-c:a", "copy"]
    varying = make(tmp_path / "vfr.mp4", "-i", str(clip), *variable)
    surround = make(tmp_path / "51.mp4", "-i", str(clip), "-c:v", "copy", "-ac", "6")
    telephone = make(tmp_path / "8k.mp4", "-i", str(clip), "-c:v", "copy", "-ar", "8000", "-ac", "1")
    for path in (turned, varying, surround, telephone):
        result = decode(path, max_length_difference_s=0.2)
        assert isinstance(result, DecodedClip), f"{path.name}: {result}"


def test_a_remote_clip_is_decoded_as_a_local_one(clip: Path) -> None:
    fsspec.filesystem("memory").pipe_file("memory://hostile/clip.mp4", clip.read_bytes())
    local = ClipRef(dataset="d", clip_id="clip", path=clip)
    remote = dataclasses.replace(local, path=RemoteFile("memory://hostile/clip.mp4"))
    absent = dataclasses.replace(local, path=RemoteFile("memory://hostile/absent.mp4"))
    step = DecodeStep(DecodeConfig(), SPEC, WindowConfig())
    here, there, nowhere = step([local, remote, absent])
    assert isinstance(here, DecodedClip) and isinstance(there, DecodedClip) and isinstance(nowhere, Dropped)
    assert np.array_equal(here.windows[0].frames, there.windows[0].frames)
    assert here.source_sha256 == there.source_sha256
    assert (nowhere.kind, nowhere.reason) == ("missing", "not_a_file") and "memory://" in nowhere.detail
    (large,) = DecodeStep(DecodeConfig(max_fetch_mib=1), SPEC, WindowConfig())([large_file(remote)])
    assert isinstance(large, Dropped) and large.reason == "too_large"


def test_segments_of_a_remote_file_are_fetched_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [RemoteFile(f"memory://hostile/segments_{name}.mp4") for name in "ab"]
    for path in paths:
        fsspec.filesystem("memory").pipe_file(str(path), clip.read_bytes())
    fetched: list[str] = []

    def fetch(place: Location, *, max_bytes: int, timeout_s: float) -> AbstractContextManager[Path]:
        fetched.append(str(place))
        return local_copy(place, max_bytes=max_bytes, timeout_s=timeout_s)

    monkeypatch.setattr("preprocessing.opened_source.local_copy", fetch)
    segments = [
        ClipRef(dataset="d", clip_id=f"{path}{k}", path=path, start_s=k / 4)
        for path in paths
        for k in range(3)
    ]
    results = DecodeStep(DecodeConfig(), SPEC, WindowConfig(count=1))(segments)
    assert all(isinstance(result, DecodedClip) for result in results)
    assert fetched == [str(path) for path in paths]


def large_file(ref: ClipRef) -> ClipRef:
    fsspec.filesystem("memory").pipe_file("memory://hostile/large.mp4", bytes((1 << 20) + 1))
    return dataclasses.replace(ref, path=RemoteFile("memory://hostile/large.mp4"))


def test_a_known_bad_clip_is_rejected_unread(tmp_path: Path) -> None:
    step = DecodeStep(DecodeConfig(), SPEC, WindowConfig())
    (result,) = step([ClipRef(dataset="d", clip_id="a", path=tmp_path / "absent", known_bad="silent_audio")])
    assert isinstance(result, Dropped)
    assert (result.kind, result.reason) == ("rejected", "known_bad_silent_audio")
