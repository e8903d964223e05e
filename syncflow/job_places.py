"""Relative folders and files under `ray job submit`, where they cannot be meant."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from syncflow.config import Config
from syncflow.errors import UserError
from syncflow.places import KEYWORDS, FolderOrName, sqlite_file
from syncflow.storage import is_url

IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the process that `ray job submit` starts."""
COPY = "working_dir_files"
"""The folder of Ray's in which the copy of a job's working directory lies."""
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def refuse_relative(config: Config) -> None:
    """Refuse a relative place under `ray job submit`: its driver runs in an unpacked copy of the working
    directory, which is thrown away, and workers on other machines run elsewhere.

    Raises:
        UserError: so; it names the flag.
    """
    if not os.environ.get(IN_A_JOB):
        return
    for name, value, mark in _places(config):
        if _is_relative(value, mark):
            raise UserError(
                f"--{name.replace('_', '-')} {value}: relative, and a Ray job runs in a copy of the working "
                "directory; give an absolute path that all nodes see"
            )


def place_settings(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings of `cls` that name a folder or file."""
    for name, field in cls.model_fields.items():
        marked = any(isinstance(each, FolderOrName) for each in field.metadata)
        parts = (field.annotation, *get_args(field.annotation))
        if marked or any(isinstance(part, type) and issubclass(part, Path) for part in parts):
            yield prefix + name
        for part in parts:
            if isinstance(part, type) and issubclass(part, Config):
                yield from place_settings(part, f"{prefix}{name}.")


def _places(config: Config, prefix: str = "") -> Iterator[tuple[str, str, FolderOrName | None]]:
    """Dotted name, value and mark of each setting that names a place."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        mark = next((each for each in field.metadata if isinstance(each, FolderOrName)), None)
        if isinstance(value, Config):
            yield from _places(value, f"{prefix}{name}.")
            continue
        for item in _items(value):
            is_place = isinstance(item, Path) or (mark is not None and isinstance(item, str))
            if is_place and str(item) not in (*KEYWORDS, "."):
                yield prefix + name, str(item), mark
            elif isinstance(item, str) and (file := sqlite_file(item)) is not None:
                inside = COPY in file.parts and file.is_relative_to(Path.cwd())  # it was made absolute there
                yield prefix + name, str(file.relative_to(Path.cwd()) if inside else file), None


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, tuple | list) else [value]


def _is_relative(value: str, mark: FolderOrName | None) -> bool:
    if Path(value).is_absolute() or is_url(value):
        return False
    may_be_hub = mark is not None and mark.hub and _HUB_ID.fullmatch(value) is not None
    return not may_be_hub or Path(value).exists()
