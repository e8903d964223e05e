"""One page per command: type, default and help of each setting, read from the command's own `Config`."""

import ast
import importlib
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from syncflow.config import Config, Role

INTRODUCTION = """\
A setting is a key of a preset (`--config FILE`) and a flag of the same name (`--group.setting VALUE`).
Settings decide the result, unless they are marked: *(work)* says where things are and how, or how much of,
the work is done; *(rounding)* changes the last digits at most. A job goes on only with the settings that
decide its result.
"""
MARKS = {Role.RESULT: "", Role.ROUNDING: " *(rounding)*", Role.WORK: " *(work)*"}


@cache
def settings_pages(root: Path) -> dict[str, tuple[str, str]]:
    """Place of each page -> its title and Markdown."""
    return {
        f"settings/{path.stem}.md": (path.stem, _page(path, config))
        for path, config in command_configs(root).items()
    }


def command_configs(root: Path) -> dict[Path, type[Config]]:
    """Each command of `pipelines/` and the settings that it hands to `parse_arguments`."""
    found: dict[Path, type[Config]] = {}
    for path in sorted((root / "pipelines").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {
            alias.asname or alias.name: node.module or ""
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "parse_arguments":
                name = ast.unparse(node.args[0])
                found[path] = getattr(importlib.import_module(modules[name]), name)
    return found


def groups(config: type[Config], prefix: str = "") -> Iterator[tuple[str, str, type[Config]]]:
    """Dotted prefix, help and class of a config, and of each group of settings inside it."""
    yield prefix, "", config
    for name, field in config.model_fields.items():
        for inner in configs_in(field.annotation):
            for place, text, found in groups(inner, f"{prefix}{name}."):
                yield place, text or (field.description or "" if found is inner else ""), found


def configs_in(annotation: Any) -> list[type[Config]]:
    """The `Config` classes that a setting's type names."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [each for part in get_args(annotation) for each in configs_in(part)]


def _page(path: Path, config: type[Config]) -> str:
    summary = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    lines = [
        f"# {path.stem}",
        "",
        summary,
        "",
        f"    python pipelines/{path.name} --help",
        "",
        INTRODUCTION,
    ]
    for prefix, text, group in groups(config):
        settings = {
            name: field for name, field in group.model_fields.items() if not configs_in(field.annotation)
        }
        if not settings:
            continue
        if prefix:
            lines += ["", f"## {prefix.removesuffix('.')}", "", _plain(text)]
        lines += ["", "| setting | type | default | what it does |", "|---|---|---|---|"]
        lines += [_row(f"{prefix}{name}", field) for name, field in settings.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    role = next((mark for mark in field.metadata if isinstance(mark, Role)), Role.RESULT)
    text = _cell(_plain(field.description or "")) + MARKS[role]
    return f"| `{name}` | {_cell(type_name(field.annotation))} | {_default(field)} | {text} |"


def type_name(annotation: Any) -> str:
    """A setting's type in words: `int`, `path`, `euler, heun or ab2`, `list of int`, `path or none`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        names = [f"`{each}`" for each in arguments]
        return ", ".join(names[:-1]) + (" or " if names[1:] else "") + names[-1]
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(each) for each in arguments)
    if origin is tuple and arguments[1:] == (...,):
        return f"list of {type_name(arguments[0])}"
    if origin is tuple:
        return f"({', '.join(type_name(each) for each in arguments)})"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if annotation in (None, type(None)):
        return "none"
    return {"Path": "path", "str": "text", "bool": "yes or no"}.get(annotation.__name__, annotation.__name__)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*must be given*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return _code(" ".join(map(str, value))) if value else "none"
    if value is None or value in ("", {}):
        return "none"
    return _code(str(value).replace(str(Path.home()), "~"))


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
