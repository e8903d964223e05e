"""What ffmpeg's description of a stream tells that its packets do not: colour, fields, how it is turned."""

import re
from dataclasses import dataclass

_MAPPING = re.compile(r"^\s*Stream #0:(\d+) -> #0:(\d+)", re.MULTILINE)
_FORMAT = re.compile(r", (\w+)(?:\((.*?)\))?, \d+x\d+")
_ROTATION = re.compile(r"display ?matrix: rotation of (\S+) degrees", re.IGNORECASE)
_RANGES = ("tv", "pc", "progressive")
_UNTAGGED = ("", "unknown", "reserved", "unspecified")
_HDR = ("smpte2084", "arib-std-b67")  # PQ, HLG


@dataclass(frozen=True, kw_only=True)
class StreamText:
    """Facts of one video stream."""

    rotation: float = 0.0  # degrees
    display_matrix: bool = False  # turned, mirrored or both
    interlaced: bool = False
    color_matrix: str = ""  # empty where the stream does not say
    hdr: str = ""  # what makes it HDR

    @property
    def untagged(self) -> bool:
        return self.color_matrix in _UNTAGGED


def read_stream_text(messages: str, *, output: int) -> StreamText:
    """Facts of the input stream that goes to output stream `output`, from messages of loglevel info."""
    described, _, mapped = messages.partition("Stream mapping:")
    source = next((a for a, b in _MAPPING.findall(mapped) if int(b) == output), None)
    if source is None:
        return StreamText()
    blocks = re.split(r"^\s*Stream #0:", described, flags=re.MULTILINE)
    text = next((block for block in blocks if re.match(rf"{source}\D", block)), "")
    found = _FORMAT.search(text.partition("\n")[0])
    facts = [fact.strip() for fact in (found[2] or "").split(",")] if found else []
    fields = [fact for fact in facts if "first" in fact]
    colour = next((fact for fact in facts if fact and fact not in (*_RANGES, *fields)), "").split("/")
    turned = _ROTATION.search(text)
    hdr = next((name for name in _HDR if name in colour), "")
    if not hdr and re.search(r"DOVI configuration record.*profile: 5\b", text):
        hdr = "Dolby Vision profile 5"
    return StreamText(
        rotation=_degrees(turned[1]) if turned else 0.0,
        display_matrix=turned is not None,
        interlaced=bool(fields),
        color_matrix=colour[0],
        hdr=hdr,
    )


def _degrees(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if abs(value) <= 360.0 else 0.0
