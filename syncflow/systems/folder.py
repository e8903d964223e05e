"""Audio that is there already, a wav a row, as `generate.py --modalities audio` writes it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.media import MediaError, decode_audio
from syncflow.records import ClipSpec
from syncflow.systems.card import SystemCard, UsedWeights
from syncflow.systems.contract import AudioRequest, NoAudio, fitted


class FolderSystem:
    """The wavs of a folder; row 12 gets 00012-0.wav.

    Raises:
        UserError: there are none.
    """

    def __init__(self, folder: Path, *, spec: ClipSpec) -> None:
        self.folder, self.spec = folder, spec
        files = sorted(folder.glob("[0-9]*-0.wav"))
        if not files:
            raise UserError(
                f"checkpoint {folder}: no wavs as 00000-0.wav; generate.py --modalities audio writes them"
            )
        content = settings_sha256([[path.name, file_sha256(path)] for path in files])
        self.card = SystemCard(
            name=folder.name,
            kind="text_to_audio",
            weights=(UsedWeights(name=str(folder), sha256=content, licence="of what made them"),),
            settings={},
        )

    def __call__(self, requests: Sequence[AudioRequest], *, seed: int) -> list[np.ndarray | NoAudio]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: AudioRequest) -> np.ndarray | NoAudio:
        path = self.folder / f"{request.number:05}-0.wav"
        if not path.is_file():
            return NoAudio(reason=f"no_output: no {path.name}")
        try:
            return fitted(decode_audio(path.resolve(), sample_rate=self.spec.sample_rate), self.spec)
        except MediaError as error:
            return NoAudio(reason=f"{error.reason}: {error.detail}")
