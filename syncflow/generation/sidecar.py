"""The JSON beside a clip: all that makes the same latents again."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from syncflow.config import Config, Role, settings_of, validate
from syncflow.errors import UserError
from syncflow.files import write_whole
from syncflow.generation.config import GenerateConfig
from syncflow.hashing import settings_sha256
from syncflow.version import __version__


class Clip(Config):
    """One clip of a batch."""

    row: int
    """Number of the row, from 0."""
    copy_number: int
    """Which of the row's clips, from 0."""
    prompt: str
    """Prompt; empty is the learned null prompt."""
    video: Annotated[str, Role.WORK]
    """Path of the video that audio was made for; empty for none."""
    video_sha256: str
    """Hash of that file's bytes."""
    start_s: float = 0.0
    """Where in that file the clip starts, seconds."""
    evaluation_id: Annotated[str, Role.WORK] = ""
    """Id of the row of the evaluation set; empty where the rows were of no such set."""
    seed: int | None = None
    """Seed of this clip's noise, where clips of one batch have their own; None: that of the settings."""

    @property
    def name(self) -> str:
        """Stem of the clip's files."""
        return f"{self.row:05d}-{self.copy_number}"

    def noise_index(self, candidate: int) -> int:
        """What keys the noise of one of its candidates, beside the seed; whatever else is made."""
        return self.row + (self.copy_number << 32) + (candidate << 48)


class Sidecar(Config):
    """How a clip was made."""

    file: str
    """The clip."""
    batch: tuple[Clip, ...]
    """All clips that were made together: rounding depends on them."""
    position: int
    """This clip's place in the batch."""
    candidate: int = 0
    """Which of `best_of` it is."""
    scores: tuple[float, ...] = ()
    """What each candidate scored; empty where there was but one."""
    settings: dict[str, Any]
    """The resolved settings."""
    weights: dict[str, str]
    """sha256 of each part's tensors."""
    latents: dict[str, str]
    """sha256 of the latents of each modality."""
    device: str
    """Device that made it."""
    versions: dict[str, str]
    """Versions of what made it."""

    @property
    def clip(self) -> Clip:
        return self.batch[self.position]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_whole(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Sidecar":
        """The sidecar at `path`. Raises UserError for anything else there."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read as a sidecar ({error}); give the .json beside a clip"
            ) from None
        if not isinstance(values, dict):
            raise UserError(f"{path}: not a sidecar; give the .json beside a clip that generate.py made")
        return validate(cls, values, source=str(path))


def essence(settings: GenerateConfig, clip: Clip) -> str:
    """Hash of what decides a clip, beside the weights and up to rounding: two runs with the same one may
    share an output folder."""
    return settings_sha256([settings_of(settings), settings_of(clip)])


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("torch", "diffusers", "transformers", "numpy")
    return {"syncflow": __version__, "python": platform.python_version(), **{n: version(n) for n in names}}
