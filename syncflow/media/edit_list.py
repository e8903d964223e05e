"""Edit lists of mp4 and mov: ffmpeg joins parts at whole audio frames, so only a single part is exact."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_MOST_HEADER_BYTES = 256 << 20
_INSIDE = (b"trak", b"edts", b"mdia")
_TRACKS = (b"vide", b"soun")


def edit_parts(path: Path) -> int:
    """The most separate parts of the media that an edit list of a video or audio track joins; 0 without any.

    Pauses before the first part do not count, nor parts that follow one another in the media without a cut.
    A file that cannot be read this way has none: the decoder says what is wrong with it.
    """
    try:
        with path.open("rb") as stream:
            moov = _find(stream, b"moov")
        return max((_parts(track, moov) for track in _boxes(moov, b"trak")), default=0)
    except (OSError, struct.error):
        return 0


def _find(stream: IO[bytes], wanted: bytes) -> bytes:
    """The content of the first top-level box of a kind; empty where there is none."""
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        length = 8
        if size == 1:
            (size,) = struct.unpack(">Q", stream.read(8))
            length = 16
        if kind == wanted:
            most = _MOST_HEADER_BYTES if size == 0 else min(size - length, _MOST_HEADER_BYTES)
            return stream.read(max(0, most))
        if size < length:
            break
        stream.seek(size - length, 1)
    return b""


def _boxes(data: bytes, wanted: bytes) -> Iterator[bytes]:
    """The contents of the boxes of a kind in `data`, at the top or in those boxes that hold others."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        inner = data[at + 8 : at + size]
        if kind == wanted:
            yield inner
        elif kind in _INSIDE:
            yield from _boxes(inner, wanted)
        at += size


def _parts(track: bytes, moov: bytes) -> int:
    if next((box[8:12] for box in _boxes(track, b"hdlr")), b"") not in _TRACKS:
        return 0
    film, own = next(_boxes(moov, b"mvhd"), b""), next(_boxes(track, b"mdhd"), b"")
    edits, ticks = next(_boxes(track, b"elst"), b""), _timescale(own) / max(1, _timescale(film))
    version, count = struct.unpack_from(">B3xI", edits) if edits else (0, 0)
    entry = ">Qq4x" if version == 1 else ">Ii4x"
    parts, reached = 0, -1.0
    for number in range(min(count, (len(edits) - 8) // struct.calcsize(entry))):
        length, start = struct.unpack_from(entry, edits, 8 + number * struct.calcsize(entry))
        if start < 0:
            if parts:
                reached = -1.0  # a pause between two parts
            continue
        if not parts or reached < 0 or abs(start - reached) > max(1.0, ticks):
            parts += 1
        reached = start + length * ticks
    return parts


def _timescale(header: bytes) -> int:
    """Ticks a second of a movie's or track's header."""
    return struct.unpack_from(">I", header, 20 if header[:1] == b"\x01" else 12)[0] if header else 1
