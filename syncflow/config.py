"""Strict configuration: presets (`preset.py`) -> pydantic models, and the dump (flags: `command_line.py`).

A component's settings are a frozen `Config` beside the component; its defaults are the paper's
numbers, so a preset states only differences.

A setting that does not decide the result says so on its field, `Annotated[int, Role.WORK]`: what is compared
before a job, a training or a batch of clips goes on follows from that.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml

from syncflow.errors import UserError
from syncflow.files import write_whole
from syncflow.hints import nearest
from syncflow.places import FolderOrName, absolute_place, expand_home
from syncflow.preset import load_preset, merge


class Config(pydantic.BaseModel):
    """Base of every settings model: immutable, keyword-only, and closed to unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @pydantic.field_validator("*", mode="after")
    @classmethod
    def _expand_home(cls, value: Any) -> Any:
        return _each_path(value, expand_home)


C = TypeVar("C", bound=Config)


class Role(Enum):
    """What a setting does to what is made: a dataset's rows, the state of a training, a clip's latents."""

    RESULT = "decides the result"
    ROUNDING = "changes the last digits of the result at most"
    WORK = "says how, where, or how much of the work is done; weights and files count by their content"


def setting_roles(config: Config, prefix: str = "") -> Iterator[tuple[str, Role, Any]]:
    """Dotted name, role and JSON value of every setting of `config`, those of its groups included.

    A setting without a role on its field decides the result. Of a mapping each key is a setting.
    """
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from setting_roles(value, f"{prefix}{name}.")
            continue
        role = next((mark for mark in field.metadata if isinstance(mark, Role)), Role.RESULT)
        if isinstance(value, Mapping):
            yield from ((f"{prefix}{name}.{key}", role, item) for key, item in values[name].items())
        else:
            yield prefix + name, role, values[name]


def settings_of(config: Config, *, role: Role = Role.RESULT) -> dict[str, Any]:
    """The settings of one role, by dotted name."""
    return {name: value for name, found, value in setting_roles(config) if found is role}


Source = str | Callable[[str], str]
"""Where values come from, for a message; or a function that says it of one key."""


def validate(cls: type[C], values: Mapping[str, Any], *, source: Source) -> C:
    """`values` as a `cls`; what is wrong is said in one line, with the nearest valid key.

    Raises:
        UserError: an unknown key, a missing one, or a value of the wrong type.
    """
    try:
        return cls.model_validate(with_group_defaults(cls, values))
    except pydantic.ValidationError as error:
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        key = _key_of(problems[0])
        raise UserError(f"{said(source, key)}: {_explain(cls, key, problems[0])}") from None


def said(source: Source, key: str) -> str:
    """Where `key` comes from."""
    return source if isinstance(source, str) else source(key)


def _key_of(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"])


def with_group_defaults(cls: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, where a group given in part takes the rest from the default of `cls` for that group.

    (pydantic alone would take it from the defaults of the group's own class.)
    """
    result = dict(values)
    for name, field in cls.model_fields.items():
        default, given = field.default, values.get(name)
        if isinstance(default, Config) and isinstance(given, Mapping):
            result[name] = merge(default.model_dump(), with_group_defaults(type(default), given))
    return result


def _explain(cls: type[Config], key: str, problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return unknown_key(cls, key)
    if problem["type"] == "missing":
        return f"missing key {key!r}; set it in the preset or with --{key.replace('_', '-')}"
    return f"key {key!r}: {problem['msg']}; got {problem['input']!r}"[:500]


def unknown_key(cls: type[Config], key: str) -> str:
    """What is said of a key that `cls` does not have."""
    return f"unknown key {key!r}; {nearest(key, list(setting_names(cls)))}"


def _each_path(value: Any, change: Callable[[Path], Path]) -> Any:
    """`value` with `change` made to each path in it."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_each_path(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _each_path(item, change) for key, item in value.items()}
    return value


def setting_names(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting of `cls`, groups included."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Config):
                yield from setting_names(part, f"{prefix}{name}.")


def load_config(cls: type[C], path: Path, overrides: Mapping[str, Any] | None = None) -> C:
    """The preset at `path` as a `cls`, with `overrides` (a nested mapping) laid upon it."""
    preset = load_preset(path)
    return validate(cls, merge(preset.values, overrides or {}), source=preset.source)


def with_absolute_paths(config: C) -> C:
    """`config` for another process, whose working directory may differ: every path in it is absolute."""
    changed: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            changed[name] = with_absolute_paths(value)
        elif any(isinstance(mark, FolderOrName) for mark in field.metadata):
            changed[name] = absolute_place(value)
        else:
            changed[name] = _each_path(value, Path.resolve)
    return config.model_copy(update=changed)


def dump_config(config: Config, path: Path) -> None:
    """Write the resolved settings, readable by `load_config`; whole, or those that are there stay."""
    write_whole(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
