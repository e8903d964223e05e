"""One result for each input, each with the right reason."""

import dataclasses
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from preprocessing.decode import DecodeStep
from preprocessing.decode_config import DecodeConfig, WindowConfig
from preprocessing.filters import SCORE_NAMES
from syncflow.hashing import file_sha256
from syncflow.media import write_clip
from syncflow.records import ClipRef, ClipSpec, DecodedClip, Dropped

SPEC = ClipSpec(height=64, width=64)

# number of non-overlapping windows of each real clip, or why it has none
TRUTH: dict[str, int | str] = {
    "aac_mono48k.mp4": 2,
    "av1_noaudio.mkv": "no_audio",
    "bbb_51_48k.mp4": 2,
    "broken_stsc.mp4": "undecodable",
    "cc0_crystal.mp4": 5,
    "cc0_elf.mp4": 4,
    "cc0_rabbit.webm": 3,
    "corrupt_frames.mp4": "no_audio",
    "derived_flash_beep_audio_start250ms.mp4": 4,
    "derived_flash_beep_sync0.mp4": 5,
    "derived_mpeg4_mp3.avi": 4,
    "derived_silent_audio.mp4": 4,
    "derived_static_image.mp4": 4,
    "derived_truncated.mp4": "undecodable",
    "derived_zero_bytes.mp4": "empty",
    "failing_audio.mp4": 5,
    "gh_hitting_metal.mp4": 3,
    "nasa_multistream.mp4": 6,
    "opus_mono.mkv": 5,
    "rotated90_short.mov": "no_audio",
    "ts_start10s_60fps.ts": "hdr",
    "vfr_oddsize_noaudio.mp4": "no_audio",
    "vfr_rot180_mono48k.mp4": 1,
}


def ref(path: Path) -> ClipRef:
    return ClipRef(dataset="d", clip_id=path.name, path=path)


def decode(*paths: Path, mode: str = "sampled") -> list[DecodedClip | Dropped]:
    step = DecodeStep(DecodeConfig(), SPEC, WindowConfig.model_validate({"mode": mode}))
    return step([ref(path) for path in paths])


def test_the_table_names_every_real_clip(shared: Path) -> None:
    clips = {p.name for p in (shared / "data" / "clips").iterdir() if p.suffix != ".csv"}
    assert clips == set(TRUTH)


@pytest.mark.parametrize("name", TRUTH)
def test_every_real_clip_is_decoded_or_dropped_rightly(shared: Path, name: str) -> None:
    path = shared / "data" / "clips" / name
    (result,) = decode(path, mode="all")
    if isinstance(result, Dropped):
        assert result.reason == TRUTH[name] and "\n" not in result.detail
        assert result.kind == ("rejected" if result.reason in ("no_audio", "hdr") else "failed")
        return
    assert len(result.windows) == len(result.scores) == TRUTH[name]
    assert result.source_sha256 == file_sha256(path)
    for window, scores in zip(result.windows, result.scores, strict=True):
        assert window.frames.shape == (32, 64, 64, 3) and window.audio.shape == (96_000,)
        assert tuple(scores) == SCORE_NAMES


def test_one_bad_clip_costs_one_row(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"<html>")
    results = decode(clip, tmp_path / "bad.mp4", tmp_path / "absent.mp4", clip)
    assert [type(r).__name__ for r in results] == ["DecodedClip", "Dropped", "Dropped", "DecodedClip"]
    assert [r.ref.clip_id for r in results] == ["clip.mp4", "bad.mp4", "absent.mp4", "clip.mp4"]


def test_decoding_twice_gives_the_same_bytes(clip: Path) -> None:
    first, second = decode(clip, clip)
    assert isinstance(first, DecodedClip) and isinstance(second, DecodedClip)
    for a, b in zip(first.windows, second.windows, strict=True):
        assert np.array_equal(a.frames, b.frames) and np.array_equal(a.audio, b.audio)


@pytest.mark.parametrize("seed", range(6))
def test_flipped_and_cut_files_give_one_result(tmp_path: Path, clip: Path, seed: int) -> None:
    draw = random.Random(seed)
    data = bytearray(clip.read_bytes())
    for _ in range(200):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data[: round(len(data) * draw.choice([0.1, 0.5, 0.99, 1.0]))])
    assert len(decode(broken)) == 1


def test_a_clip_takes_two_children_however_many_its_windows(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    original = subprocess.Popen

    def spy(command: list[str], **options: object) -> object:
        started.append(command[0])
        return original(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", spy)
    step = DecodeStep(DecodeConfig(), SPEC, WindowConfig(count=7))
    (result,) = step([ref(clip)])
    assert isinstance(result, DecodedClip) and len(result.windows) == 7
    assert len(started) == 2  # what the file holds, then its windows


def test_a_caption_of_the_whole_clip_is_given_frames_from_all_of_it(tmp_path: Path) -> None:
    shades = np.repeat(np.arange(10, 250, 10, dtype=np.uint8), 4)  # 24 shades of a quarter second
    frames = np.broadcast_to(shades[:, None, None, None], (96, 64, 64, 3))
    audio = np.random.default_rng(0).normal(0, 0.1, 288_000).astype(np.float32)
    write_clip(tmp_path / "clip.mp4", frames=frames, audio=audio, fps=16, sample_rate=48_000)
    step = DecodeStep(DecodeConfig(), SPEC, WindowConfig(), overview_frames=6)
    whole = ref(tmp_path / "clip.mp4")
    part = dataclasses.replace(whole, start_s=3.0, duration_s=3.0)
    for clip, first, every in ((whole, 0.5, 1.0), (part, 3.25, 0.5)):
        (result,) = step([clip])
        assert isinstance(result, DecodedClip) and result.overview is not None
        assert result.overview.shape == (6, 64, 64, 3)
        expected = [shades[int((first + k * every) * 16)] for k in range(6)]
        assert np.abs(result.overview.mean(axis=(1, 2, 3)) - expected).max() < 12
    (plain,) = DecodeStep(DecodeConfig(), SPEC, WindowConfig())([whole])
    assert isinstance(plain, DecodedClip) and plain.overview is None
