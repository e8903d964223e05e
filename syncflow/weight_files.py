"""Weights on disk: safetensors, which are read, and pickled ones, which are only ever converted."""

import shlex
from pathlib import Path

from syncflow.errors import UserError

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".th")
"""Suffixes of files that torch.save wrote."""


def pickled_files(folder: Path) -> list[Path]:
    """The files of `folder` that look like pickled weights, by their names."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in PICKLED)


def conversion_command(source: str | Path) -> str:
    """The command that makes safetensors of the pickled weights of a folder, a file or a hub id."""
    return f"python pipelines/convert_weights.py --source {shlex.quote(str(source))} --output FOLDER"


def refuse_pickled(location: str | Path, *, setting: str) -> None:
    """Refuse a folder that holds pickled weights and no safetensors; anything else is left to its loader.

    Raises:
        UserError: so; `setting` is what the message tells to set to the converted folder.
    """
    folder = Path(location)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and (found := pickled_files(folder)):
        raise UserError(
            f"{setting} {str(location)!r}: {found[0].name} is pickled, and pickled weights are not read; run "
            f"{conversion_command(location)}, and set {setting} to FOLDER"
        )
