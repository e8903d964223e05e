"""Numbers of two protocols never share a table, and the message says what differs."""

import json
from pathlib import Path

import pytest

from syncflow.errors import UserError
from syncflow.evaluation.protocol import ProtocolCard, require_same_protocol

FIELDS = {"clip": {"seconds": 2.0, "fps": 16}, "fad": {"resampler": "sinc", "layers": (1, 2)}}


def changed(**over: object) -> ProtocolCard:
    return ProtocolCard({**FIELDS, **over})


def test_a_card_survives_its_file_and_keeps_its_hash(tmp_path: Path) -> None:
    card = ProtocolCard(FIELDS)
    card.write(tmp_path / "protocol.json")
    again = ProtocolCard.read(tmp_path / "protocol.json")
    assert again.sha256 == card.sha256 and not again.differences(card)
    require_same_protocol(card, again, names=("a", "b"))


def test_the_order_of_settings_does_not_matter() -> None:
    assert ProtocolCard(dict(reversed(FIELDS.items()))).sha256 == ProtocolCard(FIELDS).sha256


def test_protocols_that_differ_are_refused_with_the_difference() -> None:
    other = changed(fad={"resampler": "kaiser_best", "layers": (1, 2)}, kl={"direction": "both"})
    with pytest.raises(UserError) as error:
        require_same_protocol(ProtocolCard(FIELDS), other, names=("ours", "theirs"))
    message = str(error.value)
    assert "fad.resampler is 'sinc' and 'kaiser_best'" in message
    assert "kl.direction is 'absent' and 'both'" in message and "\n" not in message


@pytest.mark.parametrize("damage", ["gone", "no json", "changed"])
def test_a_card_that_cannot_be_trusted_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "protocol.json"
    ProtocolCard(FIELDS).write(path)
    if damage == "gone":
        path.unlink()
    elif damage == "no json":
        path.write_text("{")
    else:
        content = json.loads(path.read_text())
        content["fields"]["clip"]["fps"] = 25
        path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="evaluate"):
        ProtocolCard.read(path)
