"""Pipelines whose weights come with this package: they load by a name, offline."""

from os import PathLike, fspath
from pathlib import Path

_PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "configs"
SHIPPED = {"tiny": _PRESETS / "tiny" / "weights"}


def shipped_folder(name: str | PathLike[str]) -> Path | None:
    """The folder of the shipped pipeline of that name; None for any other name, and where a folder of that
    name is at hand."""
    text = fspath(name)
    return None if Path(text).is_dir() else SHIPPED.get(text)
