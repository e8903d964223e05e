"""YAML presets: a mapping of settings, laid upon those that it extends.

`extends` names one preset or several, which a preset overrides key by key. A string that starts with `./` or
`../` is a path relative to the preset's own folder; every other path is relative to the working directory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from syncflow.errors import UserError
from syncflow.shipped import find_preset


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The settings of a preset and of what it extends."""

    path: Path
    values: dict[str, Any]
    origins: Mapping[str, Path]  # the file that sets each key, by dotted name

    def source(self, key: str) -> str:
        """Where a key is set, for a message: `config FILE`; the preset itself where no file sets it."""
        while key and key not in self.origins:
            key = key.rpartition(".")[0]
        return f"config {self.origins.get(key, self.path)}"


def load_preset(path: Path) -> Preset:
    """A preset with what it extends: a file, or a shipped preset by its name, such as `tiny/generate`.

    Raises:
        UserError: no such file, not YAML, a key twice, not a mapping, or a preset that extends itself.
    """
    return _read(find_preset(path), above=())


def read_preset(path: Path) -> dict[str, Any]:
    """The settings alone of `load_preset`."""
    return load_preset(path).values


def _read(path: Path, *, above: tuple[Path, ...]) -> Preset:
    path = path.expanduser()
    if path.resolve() in above:
        chain = " -> ".join(each.name for each in (*above, path))
        raise UserError(f"config {path}: extends itself ({chain}); take one of these out of `extends`")
    content = _content(path)
    bases = content.pop("extends", [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"config {path}: extends: expected a path or a list of paths, got {bases!r}")
    values: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    for base in bases:
        below = _read(path.parent / base, above=(*above, path.resolve()))
        values = merge(values, below.values)
        origins |= below.origins
    own = _anchor_paths(content, path.parent)
    origins |= dict.fromkeys(_dotted(own), path)
    return Preset(path=path, values=merge(values, own), origins=origins)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"config {path}: cannot be read ({error}); give a YAML file, or a shipped "
            "preset by name, such as tiny/generate"
        ) from None
    except _TwiceError as error:
        raise UserError(f"config {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"config {path}: expected a mapping of settings, got {type(content).__name__}")
    return content


class _TwiceError(Exception):
    """A key that comes twice."""


class _Loader(yaml.SafeLoader):
    """YAML's safe types; a key that comes twice in a mapping is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            line = key_node.start_mark.line + 1
            if key_node.value in lines:
                raise _TwiceError(
                    f"key {key_node.value!r} is on line {lines[key_node.value]} and on line {line}; keep one"
                )
            lines[key_node.value] = line
        return super().construct_mapping(node, deep=deep)


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


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
