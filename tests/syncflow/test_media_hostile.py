"""Hostile and broken files: one typed error, no request, no hang."""

import contextlib
import os
import pickle
import select
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from syncflow.media import Limits, MediaError, probe, write_clip
from syncflow.media.process import run_command


def reason(path: Path, **limits: int) -> str:
    with pytest.raises(MediaError) as caught:
        probe(path, limits=Limits(**limits))
    return caught.value.reason


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), dtype=np.uint8)
    write_clip(path, frames=frames, audio=np.zeros(96_000, np.float32), fps=16, sample_rate=48_000)
    return path


# what each demuxer of ffmpeg that opens other files or addresses recognises
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://{at}/a.ts\n#EXT-X-ENDLIST\n",
    "hls_key": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="http://{at}/key"\n'
    "#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "hls_master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://{at}/a.m3u8\n",
    "concat": "ffconcat version 1.0\nfile 'http://{at}/a.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://{at}/</BaseURL>'
    "<Period><AdaptationSet><Representation><SegmentTemplate initialization='i'/></Representation>"
    "</AdaptationSet></Period></MPD>",
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>urn:uuid:0</Id><AssetMap>http://{at}/</AssetMap></CompositionPlaylist>",
    "sdp": "v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "rtsp": "RTSPtext\nrtsp://{at}/a\n",
    "html": "<html><video src='http://{at}/a.mp4'></video></html>",
    "address": "http://{at}/a.mp4\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_no_playlist_makes_a_request_whatever_its_name(tmp_path: Path, kind: str, suffix: str) -> None:
    with socket.socket() as server, socket.socket(type=socket.SOCK_DGRAM) as packets:
        server.bind(("127.0.0.1", 0))
        host, port = server.getsockname()
        packets.bind((host, port))
        server.listen()
        path = tmp_path / f"clip{suffix}"
        path.write_text(PLAYLISTS[kind].format(at=f"{host}:{port}", host=host, port=port))
        assert reason(path) in ("unknown_format", "undecodable")
        assert select.select([server, packets], [], [], 0.02)[0] == []


def test_a_mov_whose_tracks_lie_elsewhere_makes_no_request(tmp_path: Path, clip: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = b"http://127.0.0.1:%d/a\0" % server.getsockname()[1]
        data = clip.read_bytes()
        elsewhere = (12 + len(address)).to_bytes(4, "big") + b"url " + bytes(4) + address
        place = data.index(b"url ") - 4  # the data reference of the first track: "in this file"
        moved = data[:place] + elsewhere + data[place + 12 :]
        for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):  # grow the boxes around it
            at = moved.rindex(box, 0, place + 8) - 4
            size = int.from_bytes(moved[at : at + 4], "big") + len(elsewhere) - 12
            moved = moved[:at] + size.to_bytes(4, "big") + moved[at + 4 :]
        (tmp_path / "clip.mov").write_bytes(moved)
        with contextlib.suppress(MediaError):
            probe(tmp_path / "clip.mov")
        assert select.select([server], [], [], 0.02)[0] == []


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason(tmp_path / "pipe.mp4") == "not_a_file"
    assert reason(tmp_path) == "not_a_file"
    assert reason(Path("/dev/zero")) == "not_a_file"
    assert reason(tmp_path / "absent.mp4") == "not_a_file"
    assert reason(Path("http://127.0.0.1:9/a.mp4")) == "not_a_file"
    assert reason(tmp_path / "a\0b.mp4") == "not_a_file"
    assert reason(tmp_path / ("x" * 5000)) == "unreadable"


def test_zero_bytes_and_cut_files_say_so(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "zero.mp4").touch()
    assert reason(tmp_path / "zero.mp4") == "empty"
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:600])
    assert reason(tmp_path / "cut.mp4") == "undecodable"


def test_a_name_that_looks_like_an_option_is_a_name(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-version").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(probe(Path("-version")).frame_times_s) == 32


def test_large_pictures_and_long_files_are_refused(clip: Path) -> None:
    assert reason(clip, max_pixels=1000) == "too_large"
    assert reason(clip, max_seconds=1) == "too_large"


def test_a_child_that_hangs_is_killed_with_its_children() -> None:
    started = time.monotonic()
    with pytest.raises(MediaError) as caught:
        run_command(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.3, memory_bytes=1 << 30)
    assert caught.value.reason == "timeout" and time.monotonic() - started < 3


@pytest.mark.skipif(sys.platform != "linux", reason="kernel limits are set by prlimit")
def test_a_child_cannot_take_more_memory_than_given() -> None:
    code = "import time; time.sleep(0.3); x = bytearray(1 << 30)"
    done = run_command([sys.executable, "-c", code], timeout_s=10, memory_bytes=512 << 20)
    assert done.returncode != 0 and "MemoryError" in done.messages


def test_more_output_than_accepted_is_refused() -> None:
    with pytest.raises(MediaError) as caught:
        run_command(
            ["sh", "-c", "head -c 100000 /dev/zero"], timeout_s=5, memory_bytes=1 << 30, output_bytes=(1000,)
        )
    assert caught.value.reason == "too_large"


def test_a_media_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(MediaError("timeout", "stopped")))
    assert error.reason == "timeout" and str(error) == "timeout: stopped"
