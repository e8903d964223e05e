"""Presets and checkpoints by name: what comes with the package is found from any folder."""

from os import PathLike, fspath
from pathlib import Path

from syncflow.errors import UserError
from syncflow.places import not_a_folder

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


def checked_folder(folder: Path) -> Path:
    """`folder`, that of a pipeline shipped under this name, or a name as the Hugging Face hub has them
    (which is looked for later).

    Raises:
        UserError: there is no checkpoint and no saved pipeline in it.
    """
    if folder == Path():
        raise UserError(
            "checkpoint: not set; give the folder that train_stage.py wrote, .../joint/checkpoint, "
            f"or a shipped pipeline: {', '.join(SHIPPED)}"
        )
    if shipped := shipped_folder(folder):
        return shipped
    if not folder.is_dir() and is_hub_name(folder):
        return folder
    if not folder.is_dir():
        raise UserError(
            f"checkpoint {folder}: {not_a_folder(folder)}; train a stage first (pipelines/train_stage.py)"
        )
    if not any((folder / name).is_file() for name in ("manifest.json", "model_index.json")):
        raise UserError(
            f"checkpoint {folder}: no manifest.json in it; give the folder `checkpoint` of a trained stage"
        )
    return folder


def is_hub_name(path: Path) -> bool:
    """Whether a path may be `owner/name` on the Hugging Face hub: its first folder does not exist here."""
    parts = path.parts
    return len(parts) == 2 and not path.is_absolute() and not Path(parts[0]).exists() and ".." not in parts
