"""Strict configuration: YAML presets -> pydantic models, and the dump (flags: `command_line.py`).

A component's settings are a frozen `Config` beside the component; its defaults are the paper's
numbers, so a preset states only differences. A preset may name others in `extends`, which it
overrides key by key. A string that starts with `./` or `../` in a preset is a path relative to that
preset's folder; every other path is relative to the working directory.

A setting that does not decide the result says so on its field, `Annotated[int, Role.WORK]`: what is compared
before a job, a training or a batch of clips goes on follows from that.
"""

import difflib
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml

from syncflow.errors import UserError


class Config(pydantic.BaseModel):
    """Base of every settings model: immutable, keyword-only, and closed to unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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


def read_preset(path: Path) -> dict[str, Any]:
    """The merged mapping of a preset and of what it extends.

    Raises:
        UserError: no such file, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config {path}: cannot be read ({error}); give an existing YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"config {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"config {path}: expected a mapping of settings, got {type(content).__name__}")
    bases = content.pop("extends", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = merge(merged, read_preset(path.parent / base))
    return merge(merged, _anchor_paths(content, path.parent))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _anchor_paths(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _anchor_paths(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_anchor_paths(item, folder) for item in value]
    if isinstance(value, str) and value.startswith(("./", "../")):
        return str((folder / value).resolve())
    return value


def validate(cls: type[C], values: Mapping[str, Any], *, source: str) -> C:
    """`values` as a `cls`; what is wrong is said in one line, with the nearest valid key.

    Raises:
        UserError: an unknown key, a missing one, or a value of the wrong type.
    """
    try:
        return cls.model_validate(with_group_defaults(cls, values))
    except pydantic.ValidationError as error:
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise UserError(f"{source}: {_explain(cls, problems[0])}") from None


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


def _explain(cls: type[Config], problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return unknown_key(cls, key)
    if problem["type"] == "missing":
        return f"missing key {key!r}; set it in the preset or with --{key.replace('_', '-')}"
    return f"key {key!r}: {problem['msg']}; got {problem['input']!r}"[:500]


def unknown_key(cls: type[Config], key: str) -> str:
    """What is said of a key that `cls` does not have."""
    return f"unknown key {key!r}; {nearest(key, list(setting_names(cls)))}"


def nearest(name: str, valid: list[str]) -> str:
    """A hint that names the valid name nearest to a mistyped one."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if not close:
        leaf = name.rsplit(".", 1)[-1]
        close = difflib.get_close_matches(leaf, [v.rsplit(".", 1)[-1] for v in valid], n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "--help lists the valid ones"


def setting_names(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting of `cls`, groups included."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Config):
                yield from setting_names(part, f"{prefix}{name}.")


def load_config(cls: type[C], path: Path, overrides: Mapping[str, Any] | None = None) -> C:
    """The preset at `path` as a `cls`, with `overrides` (a nested mapping) laid upon it."""
    return validate(cls, merge(read_preset(path), overrides or {}), source=f"config {path}")


def with_absolute_paths(config: C) -> C:
    """`config` for another process, whose working directory may differ: every path in it is absolute."""
    changed: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Path):
            changed[name] = value.resolve()
        elif isinstance(value, Config):
            changed[name] = with_absolute_paths(value)
    return config.model_copy(update=changed)


def dump_config(config: Config, path: Path) -> None:
    """Write the resolved settings, readable by `load_config`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
