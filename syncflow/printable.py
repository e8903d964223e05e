"""Names of files as text that can be printed, stored as UTF-8 and typed again."""

import re
import unicodedata

_ESCAPED = ("Cc", "Cs", "Zl", "Zp")  # control characters, undecodable bytes, line and paragraph separators
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they turn a line around
_LOOKS_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4})")


def printable(name: str) -> str:
    """`name` with what cannot be printed escaped: `\\xff` for a byte that is no UTF-8, `\\u000a` a newline.

    Two names never give one text: a backslash is doubled in a name with something to escape, or with
    something that looks like an escape. Every other name, in whatever script, stays as it is.
    """
    if not any(map(_hidden, name)) and not _LOOKS_ESCAPED.search(name):
        return name
    return "".join(map(_escape, name))


def _hidden(sign: str) -> bool:
    if sign.isascii():
        return sign < " " or sign == "\x7f"
    return unicodedata.category(sign) in _ESCAPED or sign in _BIDI


def _escape(sign: str) -> str:
    if sign == "\\":
        return "\\\\"
    if not _hidden(sign):
        return sign
    number = ord(sign)
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def storable(text: str) -> str:
    """`text` as UTF-8 can hold it: bytes of a path that are none are escaped. Twice is as good as once."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
