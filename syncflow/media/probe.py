"""What a file holds, from its packets: exact starts and ends, whatever its header claims.

ffprobe is not shipped with imageio-ffmpeg, so ffmpeg copies the first picture stream and the first
sound stream, undecoded, to its `framecrc` writer, which prints one line of times a packet.
"""

import re
import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg

from syncflow.media.errors import MediaError
from syncflow.media.process import Finished, ffmpeg_binary, last_line, run_command

DEMUXERS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,wav,mp3,flac"  # that we open; no playlists
_LINE_BYTES = 64 << 20
_HEADER = re.compile(r"^#(\w+) (\d+): (.*)$")
_PACKET = re.compile(r"^(\d+),\s*(?:-?\d+|NOPTS),\s*(-?\d+|NOPTS),\s*(-?\d+),(?:.*, F=0x([0-9A-F]+))?")
_KEY = 1  # of a packet's flags, which are printed when they are not just this
_ROTATION = re.compile(r"display ?matrix: rotation of (-?[\d.]+) degrees", re.IGNORECASE)
_CHANNELS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may cost."""

    memory_bytes: int = 4 << 30  # address space of the child
    max_pixels: int = 4096 * 2304  # of one source frame
    max_seconds: float = 3600.0  # length of a source file


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """A file's first picture and first sound stream. Times in seconds from the container's start."""

    container: str
    duration_s: float  # to the later end
    has_video: bool
    has_audio: bool
    width: int  # pixels as shown, after rotation; 0 without video
    height: int
    fps: float  # mean rate of the frames; 0 without video
    rotation: float  # degrees
    pixel_aspect: float  # width of a pixel over its height
    sample_rate: int  # Hz; 0 without audio
    channels: int
    video_start_s: float
    video_end_s: float
    audio_start_s: float
    audio_end_s: float
    frame_times_s: tuple[float, ...]  # of every coded frame, in order of showing; some may be before 0
    keyframe_times_s: tuple[float, ...]  # of those at which decoding can begin

    @property
    def common_span_s(self) -> tuple[float, float]:
        """First and last moment at which there are both picture and sound."""
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
    return [ffmpeg_binary(), "-hide_banner", "-loglevel", loglevel, "-nostdin", "-filter_threads", "1"]


def refusal(path: Path, done: Finished) -> MediaError:
    """The error of a run that could not open or decode `path`."""
    if "not on whitelist" in done.messages or "not in allowed" in done.messages:
        return MediaError("unknown_format", f"{path}: not one of {DEMUXERS}")
    return MediaError("undecodable", f"{path}: {last_line(done.messages)}")


def probe(path: Path, *, timeout_s: float = 30.0, limits: Limits | None = None) -> MediaInfo:
    """Read what `path` holds, without decoding it.

    Raises:
        MediaError: not_a_file, unreadable, empty, unknown_format, undecodable, too_large, timeout.
    """
    limits = limits or Limits()
    real = checked_path(path)
    source = ffmpeg.input(str(real), **input_options(limits))
    output = ffmpeg.output(source["V:0?"], source["a:0?"], "pipe:1", format="framecrc", codec="copy")
    done = run_command(
        [*ffmpeg_command(loglevel="info"), *ffmpeg.get_args(output)],
        timeout_s=timeout_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=(_LINE_BYTES,),
    )
    lines = done.outputs[0].decode("ascii", errors="replace").split("\n")
    if done.returncode != 0 and not any(_PACKET.match(line) for line in lines):
        if "does not contain any stream" in done.messages:
            raise MediaError("no_video", f"{path}: neither picture nor sound")
        raise refusal(path, done)
    return _read(path, lines, done.messages, limits)


def _read(path: Path, lines: list[str], messages: str, limits: Limits) -> MediaInfo:
    headers: dict[str, dict[str, str]] = {}
    spans: dict[str, list[tuple[int, int]]] = {}
    keys: dict[str, list[int]] = {}
    for line in lines:
        if header := _HEADER.match(line):
            headers.setdefault(header[2], {})[header[1]] = header[3]
        elif (packet := _PACKET.match(line)) and packet[2] != "NOPTS":
            spans.setdefault(packet[1], []).append((int(packet[2]), int(packet[3])))
            if int(packet[4] or "1", 16) & _KEY:
                keys.setdefault(packet[1], []).append(int(packet[2]))
    times: dict[str, list[tuple[float, float]]] = {"video": [], "audio": []}
    facts: dict[str, dict[str, str]] = {"video": {}, "audio": {}}
    keyframes: list[float] = []
    for index, header in headers.items():
        kind = header.get("media_type", "")
        if kind in times:
            tick = float(Fraction(header["tb"]))
            times[kind] = sorted((a * tick, d * tick) for a, d in spans.get(index, []))
            facts[kind] = header
            if kind == "video":
                keyframes = sorted(a * tick for a in keys.get(index, []))
    if not times["video"] and not times["audio"]:
        raise MediaError("undecodable", f"{path}: no packets of picture or sound")
    width, height = (int(n) for n in facts["video"].get("dimensions", "0x0").split("x"))
    if times["video"] and not width * height:  # the decoder was kept from opening
        bomb = "pixel count" in messages
        told = f"a picture of over {limits.max_pixels} pixels" if bomb else "a picture of unknown size"
        raise MediaError("too_large" if bomb else "undecodable", f"{path}: {told}")
    turned = _ROTATION.search(messages.split("Stream mapping")[0])
    rotation = float(turned[1]) if turned else 0.0
    if round(rotation / 90) % 2:
        width, height = height, width
    (video_start, video_end), (audio_start, audio_end) = _ends(times["video"]), _ends(times["audio"])
    info = MediaInfo(
        container=_container(messages),
        duration_s=max(video_end, audio_end),
        has_video=bool(times["video"]),
        has_audio=bool(times["audio"]),
        width=width,
        height=height,
        fps=len(times["video"]) / max(video_end - video_start, 1e-6),
        rotation=rotation,
        pixel_aspect=float(Fraction(facts["video"].get("sar", "1/1").replace("/0", "/1"))) or 1.0,
        sample_rate=int(facts["audio"].get("sample_rate", 0)),
        channels=_channels(facts["audio"].get("channel_layout_name", "")),
        video_start_s=video_start,
        video_end_s=video_end,
        audio_start_s=audio_start,
        audio_end_s=audio_end,
        frame_times_s=tuple(start for start, _ in times["video"]),
        keyframe_times_s=tuple(keyframes),
    )
    if width * height > limits.max_pixels:
        raise MediaError("too_large", f"{path}: {width} x {height} pixels, over {limits.max_pixels}")
    if info.duration_s > limits.max_seconds:
        raise MediaError("too_large", f"{path}: {info.duration_s:.0f} s, over {limits.max_seconds:g}")
    return info


def _ends(times: list[tuple[float, float]]) -> tuple[float, float]:
    if not times:
        return 0.0, 0.0
    return times[0][0], max(start + length for start, length in times)


def _container(messages: str) -> str:
    found = re.search(r"^Input #0, (.+?), from ", messages, re.MULTILINE)
    return found[1] if found else ""


def _channels(layout: str) -> int:
    """Number of channels of a layout by ffmpeg's name; 0 when the name is unknown."""
    name = layout.split("(")[0].strip()
    if name in _CHANNELS:
        return _CHANNELS[name]
    numbers = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", name)
    if numbers:
        return sum(int(n) for n in numbers.groups() if n)
    counted = re.fullmatch(r"(\d+) channels", name)
    return int(counted[1]) if counted else 0
