"""Flash and beep at every whole second, in every container that is opened."""

import struct
from pathlib import Path

import numpy as np
import pytest

from syncflow.media import MediaError, decode_frames, decode_windows, probe
from syncflow.media.suffixes import VIDEO_SUFFIXES
from tests.media_case import SPEC, assert_in_sync, beeps_of, ffmpeg, flashes_and_beeps

H264, AAC = ["-c:v", "libx264", "-bf", "2", "-g", "50"], ["-c:a", "aac"]
# codecs and options of a container, whose file is named by its suffix; some suffixes name the same container
MADE: dict[str, list[str]] = {
    "mp4": [*H264, *AAC],
    "fragmented.mp4": [*H264, *AAC, "-movflags", "frag_keyframe+empty_moov+default_base_moof"],
    "mov": [*H264, "-c:a", "pcm_s16le"],
    "3gp": [*H264, *AAC],
    "mkv": [*H264, "-c:a", "flac"],
    "webm": ["-c:v", "libvpx", "-threads", "1", "-b:v", "200k", "-c:a", "libopus"],
    "avi": ["-c:v", "mpeg4", "-bf", "2", "-c:a", "pcm_s16le"],
    "h264.avi": [*H264, "-bf", "3", "-c:a", "pcm_s16le"],
    "plain.avi": ["-c:v", "mpeg4", "-c:a", "pcm_s16le"],
    "ts": [*H264, *AAC],
    "m2ts": [*H264, "-c:a", "ac3"],
    "mpg": ["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"],
    "vob": ["-c:v", "mpeg2video", "-bf", "2", "-c:a", "ac3", "-f", "vob"],
    "flv": [*H264, *AAC],
    "ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "mxf": ["-c:v", "mpeg2video", "-c:a", "pcm_s16le"],
}


@pytest.mark.parametrize("name", MADE)
def test_every_container_keeps_flash_and_beep_together(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"clip.{name}"
    ffmpeg(*flashes_and_beeps(), *MADE[name], "-pix_fmt", "yuv420p", path)
    assert path.suffix in VIDEO_SUFFIXES
    starts_s = [0.5, 2.25]
    windows = decode_windows(path, starts_s=starts_s, spec=SPEC)
    assert_in_sync(windows, starts_s, first_s=probe(path).video_start_s, count=2)


@pytest.mark.parametrize(("codec", "delay"), [("libmp3lame", 1105), ("mp2", 481), ("aac", 1024)])
@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_the_delay_of_an_audio_encoder_is_undone_except_in_avi_which_does_not_tell_it(
    tmp_path: Path, codec: str, delay: int, suffix: str
) -> None:
    path = tmp_path / f"clip.{suffix}"
    ffmpeg(*flashes_and_beeps(seconds=3), "-c:v", "mpeg4", "-c:a", codec, path)
    start_s = 0.5
    (window,) = decode_windows(path, starts_s=[start_s], spec=SPEC)
    late_s = start_s + beeps_of(window) - [1.0, 2.0]
    assert np.abs(late_s - (delay / 48_000 if suffix == "avi" else 0.0)).max() < 0.001


def test_decord_refuses_a_container_without_an_index(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    ffmpeg(*flashes_and_beeps(seconds=3), *MADE["ts"], "-pix_fmt", "yuv420p", path)
    with pytest.raises(MediaError, match="unsupported"):
        decode_windows(path, starts_s=[0.0], spec=SPEC, backend="decord")


def test_the_size_may_change_midway(tmp_path: Path) -> None:
    """As recordings of WebRTC and HLS do: what comes after the change is in its place too."""
    for size in ("160x120", "320x180"):
        ffmpeg(*flashes_and_beeps(seconds=4, size=size), *MADE["webm"], tmp_path / f"{size}.webm")
    path, listed = tmp_path / "change.webm", tmp_path / "list.txt"
    listed.write_text("file '160x120.webm'\nfile '320x180.webm'\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", path)
    info = probe(path)
    changed_s = min(time for time in info.frame_times_s if time > 3.98)  # of the first frame of another size
    starts_s = [2.25, 4.5, 5.75]
    windows = decode_windows(path, starts_s=starts_s, spec=SPEC)
    for first_s, each in ((info.video_start_s, slice(0, 1)), (changed_s, slice(1, 3))):
        assert_in_sync(
            windows[each], starts_s[each], first_s=first_s, count=2, audio_s=0.025
        )  # both Opus streams count their pre-skip
    assert decode_frames(path, start_s=4.5, spec=SPEC).shape == (32, 32, 32, 3)


def test_channels_and_rate_of_the_audio_may_change_midway(tmp_path: Path) -> None:
    for name, rate, channels in (("a", 48_000, 1), ("b", 44_100, 2)):
        audio = ["-c:a", "libmp3lame", "-ar", rate, "-ac", channels]
        ffmpeg(*flashes_and_beeps(seconds=4, rate=rate), *H264, *audio, tmp_path / f"{name}.mkv")
    path, listed = tmp_path / "change.mkv", tmp_path / "list.txt"
    listed.write_text("file 'a.mkv'\nfile 'b.mkv'\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", path)
    info = probe(path)
    changed_s = min(time for time in info.keyframe_times_s if time > 3.98)
    starts_s = [0.5, 4.5]
    windows = decode_windows(path, starts_s=starts_s, spec=SPEC)
    for first_s, each in ((info.video_start_s, slice(0, 1)), (changed_s, slice(1, 2))):
        assert_in_sync(
            windows[each], starts_s[each], first_s=first_s, count=2, audio_s=0.06
        )  # the delay of MP3's encoder, and where the parts were joined


def with_edits(media: bytes, edits: list[tuple[int, int]]) -> bytes:
    """An mp4 whose tracks all have the edit list `edits`: (length in ms, start in ms; -1 is a pause)."""

    def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
        found, at = [], 0
        while at < len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            found.append((kind, data[at + 8 : at + size]))
            at += size
        return found

    def box(kind: bytes, inner: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(inner), kind) + inner

    def track(inner: bytes, film_ticks: int) -> bytes:
        parts = [(kind, part) for kind, part in boxes(inner) if kind != b"edts"]
        (header,) = (part for kind, part in boxes(dict(parts)[b"mdia"]) if kind == b"mdhd")
        ticks = struct.unpack_from(">I", header, 12)[0]
        rows = b"".join(
            struct.pack(
                ">IiI", length * film_ticks // 1000, -1 if start < 0 else start * ticks // 1000, 1 << 16
            )
            for length, start in edits
        )
        edts = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + rows))
        return b"".join([box(*parts[0]), edts, *(box(*part) for part in parts[1:])])

    top = boxes(media)
    moov = boxes(dict(top)[b"moov"])
    film_ticks = struct.unpack_from(">I", dict(moov)[b"mvhd"], 12)[0]
    made = [(kind, track(part, film_ticks) if kind == b"trak" else part) for kind, part in moov]
    # the header lies behind the media, so that no offset moves
    return b"".join(box(k, b"".join(box(*each) for each in made) if k == b"moov" else v) for k, v in top)


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([(5000, 0)], None),
        ([(250, -1), (4000, 0)], None),
        ([(1000, 0), (3000, 1000)], None),
        ([(1990, 0), (2000, 3000)], "edit_list"),
    ],
)
def test_an_edit_list_is_followed_or_refused_by_name(
    tmp_path: Path, edits: list[tuple[int, int]], told: str | None
) -> None:
    """ffmpeg starts the second part of the audio at a whole frame of AAC, up to 21 ms too early."""
    path = tmp_path / "clip.mov"
    ffmpeg(
        *flashes_and_beeps(), "-c:v", "libx264", "-bf", 0, "-c:a", "pcm_s16le", "-pix_fmt", "yuv420p", path
    )
    path.write_bytes(with_edits(path.read_bytes(), edits))
    if told:
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.reason == told
    else:
        windows = decode_windows(path, starts_s=[0.5], spec=SPEC)  # time 0 is after a pause of both tracks
        assert_in_sync(windows, [0.5], first_s=0.0, count=2)
