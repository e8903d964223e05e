"""What was filled in is told from what was read: files with holes, flipped bits, pauses."""

import random
import subprocess
from pathlib import Path

import pytest

from preprocessing.decode import DecodeStep
from preprocessing.decode_config import DecodeConfig, FilterConfig, WindowConfig
from preprocessing.filters import FilterStep
from preprocessing.steps import run_steps
from syncflow.media import MediaError, decode_frames
from syncflow.media.process import ffmpeg_binary
from syncflow.records import ClipRef, ClipSpec, DecodedClip, Dropped

SPEC = ClipSpec(height=32, width=32)


def ffmpeg(*arguments: object) -> None:
    subprocess.run([ffmpeg_binary(), "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def outcome(path: Path) -> DecodedClip | Dropped:
    """All windows of a clip through decoding and the filters that a job has by default."""
    decode = DecodeStep(DecodeConfig(), SPEC, WindowConfig(mode="all"))
    (result,) = run_steps(
        [decode, FilterStep(FilterConfig())], [ClipRef(dataset="d", clip_id="a", path=path)]
    )
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a moving pattern and a tone, with a keyframe every two."""
    path = tmp_path_factory.mktemp("clips") / "whole.mp4"
    tone = "aevalsrc='0.4*sin(2*PI*440*t)':s=48000:d=8"
    video = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=8", "-c:v", "libx264", "-g", "50"]
    ffmpeg("-f", "lavfi", "-i", tone, *video, "-c:a", "aac", "-movflags", "+faststart", path)
    return path


def with_hole(source: Path, target: Path, *, first: float, share: float) -> Path:
    data = bytearray(source.read_bytes())
    start, size = round(first * len(data)), round(share * len(data))
    data[start : start + size] = bytes(size)
    target.write_bytes(data)
    return target


def test_a_whole_file_is_decoded_whole(whole: Path) -> None:
    clip = outcome(whole)
    assert isinstance(clip, DecodedClip) and len(clip.windows) == 4
    assert {(scores["video_decoded"], scores["audio_decoded"]) for scores in clip.scores} == {(1.0, 1.0)}


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "flv"])
def test_windows_over_a_hole_are_left_out_and_the_others_kept(
    whole: Path, tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"whole.{container}"
    ffmpeg("-i", whole, "-c", "copy", *(["-movflags", "+faststart"] if container == "mp4" else []), path)
    clip = outcome(with_hole(path, tmp_path / f"hole.{container}", first=0.35, share=0.3))
    if container == "flv":  # its reader gives up at the hole
        assert isinstance(clip, Dropped) or len(clip.windows) < 4
        return
    assert isinstance(clip, DecodedClip)
    kept = {window.start_s for window in clip.windows}
    assert kept and all(start_s < 1 or start_s > 4.9 for start_s in kept), kept


def test_a_clip_that_is_a_hole_for_the_most_part_is_rejected_by_name(whole: Path, tmp_path: Path) -> None:
    clip = outcome(with_hole(whole, tmp_path / "hole.mp4", first=0.12, share=0.86))
    assert isinstance(clip, Dropped) and (clip.kind, clip.reason) == ("rejected", "partly_decoded")


def test_three_thousand_flipped_bits_are_rejected_by_name(whole: Path, tmp_path: Path) -> None:
    data, draw = bytearray(whole.read_bytes()), random.Random(0)
    media = data.index(b"mdat") + 8
    for _ in range(3000):
        data[draw.randrange(media, len(data))] ^= 1 << draw.randrange(8)
    (tmp_path / "flipped.mp4").write_bytes(data)
    clip = outcome(tmp_path / "flipped.mp4")
    assert isinstance(clip, Dropped) and clip.reason == "partly_decoded"


def test_damage_up_to_a_keyframe_leaves_what_follows_it(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    media = data.index(b"mdat") + 8
    for place in range(media + 3000, media + 40_000, 500):
        data[place] ^= 0x10
    (tmp_path / "smeared.mp4").write_bytes(data)
    clip = outcome(tmp_path / "smeared.mp4")
    assert isinstance(clip, DecodedClip) and 0 < len(clip.windows) < 4
    assert min(window.start_s for window in clip.windows) > 0


def test_a_caller_that_is_not_told_the_share_gets_an_error(whole: Path, tmp_path: Path) -> None:
    path = with_hole(whole, tmp_path / "hole.mp4", first=0.35, share=0.3)
    assert decode_frames(path, start_s=0.0, spec=SPEC).shape == (32, 32, 32, 3)
    with pytest.raises(MediaError, match="partly_decoded"):
        decode_frames(path, start_s=2.0, spec=SPEC)


def test_a_variable_rate_is_no_hole(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "vfr.mp4"
    still = "select='not(between(t,2.1,3.9))+not(mod(n,10))'"
    ffmpeg("-i", whole, "-vf", still, "-fps_mode", "vfr", "-c:v", "libx264", "-c:a", "copy", path)
    clip = outcome(path)
    assert isinstance(clip, DecodedClip) and len(clip.windows) == 4
    assert all(scores["video_decoded"] == 1.0 for scores in clip.scores)


def test_a_pause_in_the_audio_is_told(tmp_path: Path) -> None:
    """Packets that are not there: what comes after them keeps its place, and the share tells of them."""
    tone = "aevalsrc='0.4*sin(2*PI*440*t)':s=48000:d=8,aselect='not(between(t,3,3.6))'"
    video = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=8", "-c:v", "libx264"]
    ffmpeg("-f", "lavfi", "-i", tone, *video, "-c:a", "pcm_s16le", tmp_path / "pause.mkv")
    decode = DecodeStep(DecodeConfig(), SPEC, WindowConfig(mode="all"))
    (clip,) = decode([ClipRef(dataset="d", clip_id="a", path=tmp_path / "pause.mkv")])
    assert isinstance(clip, DecodedClip)
    shares = [scores["audio_decoded"] for scores in clip.scores]
    assert shares == pytest.approx([1, 0.7, 1, 1], abs=0.03)
    assert clip.scores[1]["silence_fraction"] == pytest.approx(0.3, abs=0.03)
