"""From a clip to a cell of a table: what made the clips, by which commands, measured by which protocol."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256
from syncflow.studies.scores import first_sidecar
from syncflow.studies.tables.config import TablesConfig
from syncflow.systems.card import CARD, SystemCard

FILE = "lineage.json"


@dataclass(frozen=True, kw_only=True)
class SystemLineage:
    """What the cells of one system come from."""

    system: str
    rows: tuple[str, ...]  # tables and settings in which it stands
    folders: tuple[Path, ...]  # of its clips, one a seed
    made_by: Mapping[str, str]  # folder -> what made its clips
    protocol_sha256: str
    commands: Mapping[str, str]  # job -> its command, what is needed first
    cells: Mapping[str, str]  # by column
    scores: Path  # folder of the scores
    record: Path  # folder of lineage.json

    @property
    def identity(self) -> str:
        """Hash of all but where things lie."""
        return settings_sha256(
            [self.system, sorted(self.made_by.values()), self.protocol_sha256, dict(self.commands)]
        )

    def values(self) -> dict[str, Any]:
        """As lineage.json has it."""
        return {
            "system": self.system,
            "rows": list(self.rows),
            "made_by": dict(self.made_by),
            "protocol_sha256": self.protocol_sha256,
            "commands": dict(self.commands),
            "cells": dict(self.cells),
        }

    def write(self) -> None:
        """Leave lineage.json in `record`."""
        with whole_file(self.record / FILE) as stream:
            stream.write(json.dumps(self.values(), indent=1).encode())


Track = Callable[[TablesConfig, Sequence[SystemLineage]], Mapping[str, str]]
"""Sends lineages to where runs are kept; the ids of the runs by system."""


def made_by(folder: Path) -> str:
    """What made the clips of a folder: hash of its card, or of the weights that a sidecar names.

    `unknown` for clips from elsewhere that have neither.
    """
    if (folder / CARD).is_file():
        try:
            return f"card {SystemCard.read(folder).sha256}"
        except UserError:
            return "unknown"
    sidecar = first_sidecar(folder)
    return f"weights {settings_sha256(sidecar.weights)}" if sidecar else "unknown"
