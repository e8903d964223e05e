"""What comes with the package: presets and pipelines with their weights, found by name from any folder."""

from os import PathLike, fspath
from pathlib import Path

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
PRESETS = PIPELINES / "configs"
SHIPPED = {"tiny": PRESETS / "tiny" / "weights"}


def shipped_folder(name: str | PathLike[str]) -> Path | None:
    """The folder of the shipped pipeline `name`, such as `tiny`.

    None for any other name, and where the working directory has a folder of that name.
    """
    text = fspath(name)
    return None if Path(text).is_dir() else SHIPPED.get(text)


def shipped_presets() -> list[str]:
    """Names of the shipped presets, such as `tiny/generate`."""
    return sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.yaml"))


def find_preset(path: Path) -> Path:
    """The file of a preset: `path` itself, or the shipped preset of that name.

    A shipped preset is named `tiny/generate`, `tiny/generate.yaml` or, as from a checkout,
    `pipelines/configs/tiny/generate.yaml`. A file of the working directory goes before it; `path` comes back
    as it is where neither exists.
    """
    path = path.expanduser()
    if path.is_file() or path.is_absolute():
        return path
    name = path.as_posix().removeprefix("pipelines/configs/").removesuffix(".yaml")
    shipped = PRESETS / f"{name}.yaml"
    return shipped if name in shipped_presets() else path
