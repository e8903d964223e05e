"""What a file holds, from its packets: exact starts and ends, whatever its header claims.

ffprobe is not shipped with imageio-ffmpeg, so ffmpeg copies the first video stream and the first
audio stream, undecoded, to its `framecrc` writer, which prints one line of times a packet.
"""

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import ffmpeg

from syncflow.media.edit_list import edit_parts
from syncflow.media.errors import MediaError
from syncflow.media.process import FILE, Finished, arguments, ffmpeg_binary, last_line, run_command
from syncflow.media.stream_text import StreamText, read_stream_text

DEMUXERS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,wav,mp3,flac"  # that we open; no playlists
_LINE_BYTES = 64 << 20
_HEADER = re.compile(r"^#(\w+) (\d+): (.*)$")
_PACKET = re.compile(
    r"^(?P<stream>\d+),\s*(?P<dts>-?\d+|NOPTS),\s*(?P<pts>-?\d+|NOPTS),\s*(?P<length>-?\d+),"
    r"\s*(?P<size>\d+),\s*0x(?P<checksum>[0-9a-f]+)(?:, F=0x(?P<flags>[0-9A-F]+))?"
)
_NO_LIMIT = ("-max_error_rate", "1")  # damaged packets are counted here
_KEY = 1  # of a packet's flags, which are printed when they are not just this
_NO_TIME = ("NOPTS", str(-(1 << 63)))
_LEAST_HOLE = 32  # bytes of a packet of zeros that count as a hole
_UNCODED = ("pcm", "adpcm", "rawvideo")  # codecs in which zeros are silence or black
_HD_ROWS = 720  # from here on a video that does not say otherwise is BT.709, as players take it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may cost."""

    memory_bytes: int = 4 << 30  # address space of the child
    max_pixels: int = 4096 * 2304  # of one source frame
    max_seconds: float = 3600.0  # length of a source file


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """A file's first video and first audio stream. Times in seconds from the container's start."""

    container: str
    duration_s: float  # to the later end
    has_video: bool
    has_audio: bool
    width: int  # pixels as shown, after rotation; 0 without video
    height: int
    fps: float  # mean rate of the frames; 0 without video
    rotation: float  # degrees
    display_matrix: bool  # the frames are to be turned, mirrored or both
    interlaced: bool
    untagged_hd: bool  # at least 720 rows, and no word of the colour matrix
    pixel_aspect: float  # width of a pixel over its height
    sample_rate: int  # Hz; 0 without audio
    ambisonic: bool  # the first channel is the omnidirectional one, and the mix
    mono: bool
    video_start_s: float
    video_end_s: float
    audio_start_s: float
    audio_end_s: float
    lacks_times: bool  # the frames have decoding times alone (H.264 or MPEG-4 in AVI), which serve as theirs
    frame_times_s: tuple[float, ...]  # of every coded frame, in order of showing; some may be before 0
    keyframe_times_s: tuple[float, ...]  # of those at which decoding can begin
    lost_frame_times_s: tuple[float, ...]  # of those whose packets are nothing but zeros
    audio_packets_s: tuple[tuple[float, float], ...]  # start and length of each that is not all zeros

    @property
    def common_span_s(self) -> tuple[float, float]:
        """First and last moment at which there are both video and audio."""
        return max(0.0, self.video_start_s, self.audio_start_s), min(self.video_end_s, self.audio_end_s)


def checked_path(path: Path) -> Path:
    """`path`, absolute and with links resolved, if it is a regular file with something in it.

    Raises:
        MediaError: not_a_file, unreadable, empty.
    """
    try:
        real = Path(path).resolve(strict=True)
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError("not_a_file", f"{path}: not a regular file")
        with real.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise MediaError("not_a_file", f"{str(path)[:300]!r}: no such file ({error})"[:500]) from None
    except (OSError, RuntimeError) as error:
        raise MediaError("unreadable", f"{str(path)[:300]!r}: {error}"[:500]) from None
    if status.st_size == 0:
        raise MediaError("empty", f"{path}: zero bytes")
    return real


def input_options(limits: Limits) -> dict[str, object]:
    """ffmpeg's options before `-i` that keep an input to one local file of a known container."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": DEMUXERS,
        "max_pixels": limits.max_pixels,
        "threads": 1,
    }


def ffmpeg_command(*, loglevel: str = "error") -> list[str]:
    """Program and global options."""
    return [
        ffmpeg_binary(),
        "-hide_banner",
        "-loglevel",
        loglevel,
        "-nostdin",
        "-filter_threads",
        "1",
        *_NO_LIMIT,
    ]


def refusal(path: Path, done: Finished) -> MediaError:
    """The error of a run that could not open or decode `path`."""
    if "not on whitelist" in done.messages or "not in allowed" in done.messages:
        return MediaError("unknown_format", f"{path}: not one of {DEMUXERS}")
    return MediaError("undecodable", f"{path}: {last_line(done.messages)}")


def probe(path: Path, *, timeout_s: float = 30.0, limits: Limits | None = None) -> MediaInfo:
    """Read what `path` holds, without decoding it.

    Raises:
        MediaError: not_a_file, unreadable, empty, unknown_format, undecodable, too_large, hdr, edit_list,
            timeout.
    """
    limits = limits or Limits()
    real = checked_path(path)
    source = ffmpeg.input(FILE, **input_options(limits))
    output = ffmpeg.output(source["V:0?"], source["a:0?"], "pipe:1", format="framecrc", codec="copy")
    done = run_command(
        [*ffmpeg_command(loglevel="info"), *arguments(output, real)],
        timeout_s=timeout_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=(_LINE_BYTES,),
    )
    lines = done.outputs[0].decode("ascii", errors="replace").split("\n")
    if done.returncode != 0 and not any(_PACKET.match(line) for line in lines):
        if "does not contain any stream" in done.messages:
            raise MediaError("no_video", f"{path}: neither video nor audio")
        raise refusal(path, done)
    info = _read(path, lines, done.messages, limits)
    if info.container.startswith("mov") and (parts := edit_parts(real)) > 1:
        raise MediaError("edit_list", f"{path}: an edit list of {parts} parts; write the cut out anew first")
    return info


def _read(path: Path, lines: list[str], messages: str, limits: Limits) -> MediaInfo:
    headers: dict[str, dict[str, str]] = {}
    packets: dict[str, list[re.Match[str]]] = {}
    for line in lines:
        if header := _HEADER.match(line):
            headers.setdefault(header[2], {})[header[1]] = header[3]
        elif packet := _PACKET.match(line):
            packets.setdefault(packet["stream"], []).append(packet)
    video, audio = _Packets(), _Packets()
    text = StreamText()
    for index, header in headers.items():
        if header.get("media_type") == "video":
            avi = _container(messages) == "avi"
            video = _Packets(packets.get(index, []), header, avi=avi)
            text = read_stream_text(messages, output=int(index))
        elif header.get("media_type") == "audio":
            audio = _Packets(packets.get(index, []), header)
    if not video.spans and not audio.spans:
        raise MediaError("undecodable", f"{path}: no packets of video or audio")
    width, height = (int(n) for n in video.header.get("dimensions", "0x0").split("x"))
    if video.spans and not width * height:  # the decoder was kept from opening
        bomb = "pixel count" in messages
        told = f"a video of over {limits.max_pixels} pixels" if bomb else "a video of unknown size"
        raise MediaError("too_large" if bomb else "undecodable", f"{path}: {told}")
    if video.spans and text.hdr:
        raise MediaError("hdr", f"{path}: high dynamic range ({text.hdr}); convert it to BT.709 first")
    untagged_hd = text.untagged and height >= _HD_ROWS
    if round(text.rotation / 90) % 2:
        width, height = height, width
    (video_start, video_end), (audio_start, audio_end) = _ends(video.spans), _ends(audio.spans)
    layout = audio.header.get("channel_layout_name", "")
    info = MediaInfo(
        container=_container(messages),
        duration_s=max(video_end, audio_end),
        has_video=bool(video.spans),
        has_audio=bool(audio.spans),
        width=width,
        height=height,
        fps=len(video.spans) / max(video_end - video_start, 1e-6),
        rotation=text.rotation,
        display_matrix=text.display_matrix,
        interlaced=text.interlaced,
        untagged_hd=untagged_hd,
        pixel_aspect=float(Fraction(video.header.get("sar", "1/1").replace("/0", "/1"))) or 1.0,
        sample_rate=int(audio.header.get("sample_rate", 0)),
        ambisonic=layout.startswith("ambisonic"),
        mono=layout in ("mono", "1 channels"),
        video_start_s=video_start,
        video_end_s=video_end,
        audio_start_s=audio_start,
        audio_end_s=audio_end,
        lacks_times=video.lacks_times,
        frame_times_s=tuple(start for start, _ in video.spans),
        keyframe_times_s=tuple(sorted(video.keys)),
        lost_frame_times_s=tuple(sorted(video.lost)),
        audio_packets_s=tuple(span for span in audio.spans if span[0] not in audio.lost),
    )
    if width * height > limits.max_pixels:
        raise MediaError("too_large", f"{path}: {width} x {height} pixels, over {limits.max_pixels}")
    if info.duration_s > limits.max_seconds:
        raise MediaError("too_large", f"{path}: {info.duration_s:.0f} s, over {limits.max_seconds:g}")
    return info


class _Packets:
    """The packets of one stream, in order of time: seconds from the container's start.

    A packet without a time of its own has its decoding time, moved by what the others are moved by: as many
    frames are shown at these times, whatever their order. Empty packets repeat a frame, and are left out.
    """

    def __init__(
        self,
        packets: Sequence[re.Match[str]] = (),
        header: dict[str, str] | None = None,
        *,
        avi: bool = False,
    ) -> None:
        self.header = header or {}
        tick = float(Fraction(self.header.get("tb", "1/1")))
        packets = [packet for packet in packets if int(packet["size"])]
        timed = [packet for packet in packets if packet["pts"] not in _NO_TIME]
        # avi has none of the frames that others refer to: the rest would be out of order
        self.lacks_times = len(timed) < len(packets) and (avi or not timed)
        timed = [] if self.lacks_times else timed
        moved = sorted(int(p["pts"]) - int(p["dts"]) for p in timed if p["dts"] not in _NO_TIME)
        delay = moved[len(moved) // 2] if moved else 0
        coded = not self.header.get("codec_id", "").startswith(_UNCODED)
        self.spans: list[tuple[float, float]] = []
        self.keys: list[float] = []
        self.lost: set[float] = set()
        for packet in packets:
            pts, dts = packet["pts"], packet["dts"]
            if dts in _NO_TIME and (pts in _NO_TIME or self.lacks_times):
                continue
            given = pts not in _NO_TIME and not self.lacks_times
            start_s = tick * (int(pts) if given else int(dts) + delay)
            self.spans.append((start_s, tick * int(packet["length"])))
            if int(packet["flags"] or "1", 16) & _KEY:
                self.keys.append(start_s)
            if coded and int(packet["size"]) >= _LEAST_HOLE and int(packet["checksum"], 16) == 0:
                self.lost.add(start_s)
        self.spans.sort()
        if any(length <= 0 for _, length in self.spans):  # the container tells starts alone
            self.spans = _with_lengths(self.spans)


def _with_lengths(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Packets without a length last until the next one, but no longer than is usual."""
    pauses = [later - start for (start, _), (later, _) in pairwise(spans)]
    usual = sorted(pauses)[len(pauses) // 2] if pauses else 0.0
    return [
        (start, length if length > 0 else min(pause, usual))
        for (start, length), pause in zip(spans, [*pauses, usual], strict=True)
    ]


def _ends(times: list[tuple[float, float]]) -> tuple[float, float]:
    if not times:
        return 0.0, 0.0
    return times[0][0], max(start + length for start, length in times)


def _container(messages: str) -> str:
    found = re.search(r"^Input #0, (.+?), from ", messages, re.MULTILINE)
    return found[1] if found else ""
