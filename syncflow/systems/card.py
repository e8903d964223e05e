"""What a system is made of: the names, hashes and licences of its weights, and its settings."""

import json
from pathlib import Path
from typing import Any, Literal

from syncflow.config import Config, validate
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256

CARD = "card.json"
Kind = Literal["video_to_audio", "text_to_audio", "text_to_audio_video"]


class UsedWeights(Config):
    """One model of a system."""

    name: str
    """Hub id, file or folder."""
    sha256: str
    """Of its tensors or files; empty where a foreign process loads it by itself."""
    licence: str
    """As its authors tell it; `unknown` where nobody has told."""


class SystemCard(Config):
    """Lies as card.json beside the clips that the system made."""

    name: str
    """As tables call it."""
    kind: Kind
    """What it makes, and from what."""
    weights: tuple[UsedWeights, ...]
    settings: dict[str, Any]
    """Everything else that decides its audio."""

    @property
    def sha256(self) -> str:
        """Hash of what decides the audio: weights by hash (by name where there is none), and settings."""
        weights = [[each.sha256 or each.name] for each in self.weights]
        return settings_sha256([self.kind, weights, self.settings])

    def told(self) -> list[str]:
        """The licences, a line each; printed before anything is made."""
        return [f"{self.name}: {each.name}, licence {each.licence}" for each in self.weights]

    def write(self, folder: Path) -> None:
        """Raises UserError where the folder cannot be written."""
        with whole_file(folder / CARD) as stream:
            stream.write(json.dumps(self.model_dump(mode="json"), indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> "SystemCard":
        """Of a folder of clips.

        Raises:
            UserError: there is none.
        """
        path = folder / CARD
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: no card of a system ({error}); make_audio.py writes one") from None
        return validate(cls, values, source=str(path))
