"""The protocol card: all that decides an evaluation's numbers, hashed; cards that differ do not compare."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncflow.errors import UserError
from syncflow.hashing import settings_sha256

FORMAT = 1
SHOWN = 3  # differences that one message names
_ABSENT = "absent"


@dataclass(frozen=True)
class ProtocolCard:
    """Nested settings of JSON types: the clip's window, each extractor, each metric, the seeds."""

    fields: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Hash of the settings; the order of keys does not matter."""
        return settings_sha256({"format": FORMAT, "fields": self.fields})

    def differences(self, other: "ProtocolCard") -> list[tuple[str, Any, Any]]:
        """`(dotted name, ours, theirs)` of each setting that is not the same in both."""
        ours, theirs = dict(_leaves(self.fields)), dict(_leaves(other.fields))
        names = sorted({*ours, *theirs})
        pairs = ((name, ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in names)
        return [(name, a, b) for name, a, b in pairs if a != b]

    def write(self, path: Path) -> None:
        """The card as JSON, with its hash."""
        content = {"format": FORMAT, "sha256": self.sha256, "fields": self.fields}
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "ProtocolCard":
        """The card that `write` wrote.

        Raises:
            UserError: no such file, another format, or fields that its hash does not fit.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            card, told = cls(content["fields"]), (content["format"], content["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"protocol {path}: cannot be read ({error}); evaluate that folder again"
            ) from None
        if told != (FORMAT, card.sha256):
            raise UserError(
                f"protocol {path}: format {told[0]} with hash {told[1][:12]}, expected {FORMAT} with "
                f"{card.sha256[:12]}: it was changed by hand or written by another version; evaluate that "
                "folder again"
            )
        return card


def require_same_protocol(first: ProtocolCard, second: ProtocolCard, *, names: tuple[str, str]) -> None:
    """Nothing, where numbers of both cards may stand in one table.

    Raises:
        UserError: they may not; the message names what differs.
    """
    differences = first.differences(second)
    if not differences:
        return
    shown = "; ".join(f"{name} is {a!r} and {b!r}" for name, a, b in differences[:SHOWN])
    more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    raise UserError(
        f"{names[0]} and {names[1]}: their numbers do not compare, for the protocols differ: {shown}{more}; "
        "evaluate both with one protocol"
    )


def _leaves(fields: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, json.loads(json.dumps(fields))  # tuples and lists compare as one
