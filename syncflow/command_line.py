"""One command line for every pipeline: `--config PRESET` and a typed flag for each setting."""

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import pydantic

from syncflow.config import Config, Source, said, setting_names, unknown_key, validate
from syncflow.errors import UserError
from syncflow.hints import nearest
from syncflow.job_places import refuse_relative
from syncflow.preset import load_preset, merge

C = TypeVar("C", bound=Config)
HELP = {"-h", "--help"}
_FLAG = re.compile(
    r"--[A-Za-z][\w.-]*(=.*)?", re.DOTALL
)  # anything else is a value, also one that begins with --


def parse_arguments(cls: type[C], *, description: str, argv: Sequence[str] | None = None) -> C:
    """`--config FILE` (optional when every setting has a default) and one typed flag a setting.

    A flag of a list that comes several times adds up: `--prompt A --prompt B` are two prompts.

    Raises:
        UserError: an unknown flag or key (with the nearest valid one), a wrong or missing value, or a
            relative path in a Ray job.
    """
    config = _parse(cls, description=description, argv=list(sys.argv[1:] if argv is None else argv))
    refuse_relative(config)
    return config


def _parse(cls: type[C], *, description: str, argv: list[str]) -> C:
    path, rest = _split_preset(argv)
    if not HELP & set(rest):
        _refuse_unknown_flags(cls, rest)
    preset = load_preset(path) if path else None
    source: Source = preset.source if preset else "command line"
    values = preset.values if preset else {}
    if not rest:
        return validate(cls, values, source=source)
    _refuse_unknown_keys(cls, values, source)
    lists, rest = _split_lists(cls, rest)
    if lists:
        values, files = merge(values, lists), source
        given = set(_dotted(lists))
        source = lambda key: "command line" if key in given else said(files, key)  # noqa: E731
    if not HELP & set(rest):
        _refuse_missing(cls, values, rest, path)
    if not rest:
        return validate(cls, values, source=source)
    return _with_flags(cls, _defaults(cls, values, source), rest, description)


def _split_preset(arguments: list[str]) -> tuple[Path | None, list[str]]:
    rest, preset = [], None
    waiting = iter(arguments)
    for argument in waiting:
        name, _, value = argument.partition("=")
        if name != "--config":
            rest.append(argument)
            continue
        value = value or next(waiting, "")
        if not value:
            raise UserError("--config: expected a YAML preset after it, such as tiny/generate")
        preset = Path(value)
    return preset, rest


def _refuse_unknown_flags(cls: type[Config], arguments: list[str]) -> None:
    valid = {name.replace("_", "-") for name in setting_names(cls)}
    groups = {name.rpartition(".")[0] for name in valid} - {""}
    settings = sorted(valid - groups)
    for number, argument in enumerate(arguments):
        if not number and not argument.startswith("-"):
            hint = f"--config {argument}" if argument.endswith((".yaml", ".yml")) else "--help"
            raise UserError(
                f"unexpected argument {argument!r}: values come after a flag; did you mean {hint}?"
            )
        if not _FLAG.fullmatch(argument):
            continue
        flag = argument.partition("=")[0]
        name = flag[2:].replace("_", "-")
        if name in groups:
            inside = [each for each in settings if each.startswith(f"{name}.")]
            raise UserError(f"flag {flag!r} is a group of settings; give one of --{', --'.join(inside)}")
        off = re.sub(r"(^|\.)no-([^.]+)$", r"\1\2", name)  # --engine.no-bf16 turns --engine.bf16 off
        if name not in settings and off not in settings:
            raise UserError(f"unknown flag {flag!r}; {_flag_hint(name, settings)}")


def _flag_hint(name: str, settings: list[str]) -> str:
    """The nearest flag; a negation is answered by a negation, `--no-engine.bf16` by `--engine.no-bf16`."""
    turned = re.sub(r"(^|\.)no-", r"\1", name)
    if turned != name:
        same = [each for each in settings if f".{each}".endswith(f".{turned}")]
        if same:
            negated = (repr("--" + re.sub(r"([^.]+)$", r"no-\1", each)) for each in same[:3])
            return f"did you mean {' or '.join(negated)}?"
    return nearest(name, settings, prefix="--")


def _refuse_missing(
    cls: type[Config], values: Mapping[str, Any], flags: list[str], preset: Path | None
) -> None:
    given = {flag.partition("=")[0][2:].replace("-", "_") for flag in flags if _FLAG.fullmatch(flag)}
    lacking = [name for name in _required(cls) if name not in given and not _holds(values, name)]
    if lacking:
        flags_to_give = ", ".join(f"--{name.replace('_', '-')}" for name in lacking)
        where = f"set it in {preset}" if preset else "give a preset with --config, such as tiny/generate"
        raise UserError(f"missing {flags_to_give}; give it as a flag, or {where}")


def _required(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings without a default."""
    for name, field in cls.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            yield from _required(kind, f"{prefix}{name}.") if field.is_required() else ()
        elif field.is_required():
            yield f"{prefix}{name}"


def _holds(values: Mapping[str, Any], name: str) -> bool:
    group, _, rest = name.partition(".")
    inner = values.get(group)
    return group in values and (not rest or (isinstance(inner, Mapping) and _holds(inner, rest)))


def _list_settings(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings that take any number of values."""
    for name, field in cls.model_fields.items():
        kind, arguments = field.annotation, get_args(field.annotation)
        if get_origin(kind) is tuple and arguments[1:] == (...,) and arguments[0] in (str, int, float, Path):
            yield f"{prefix}{name}"
        elif isinstance(kind, type) and issubclass(kind, Config):
            yield from _list_settings(kind, f"{prefix}{name}.")


def _split_lists(cls: type[Config], arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of list flags as a nested mapping, and the other arguments.

    A value that begins with dashes is tied to its flag (`--negative-prompt=--- drums`), as tyro wants it.
    """
    lists = {name.replace("_", "-"): name for name in _list_settings(cls)}
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    values: list[str] | None = None  # of the list flag under way
    for argument in arguments:
        if _FLAG.fullmatch(argument) or argument in HELP:
            flag, tied, value = argument.partition("=")
            name = lists.get(flag[2:].replace("_", "-"))
            values = None if name is None else found.setdefault(name, [])
            if values is None:
                rest.append(argument)
            elif tied:
                values.append(value)
        elif values is not None:
            values.append(argument)
        elif argument.startswith("--") and rest:
            rest[-1] += f"={argument}"
        else:
            rest.append(argument)
    nested: dict[str, Any] = {}
    for name, each in found.items():
        *above, leaf = name.split(".")
        place = nested
        for group in above:
            place = place.setdefault(group, {})
        place[leaf] = each
    return nested, rest


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")


def _refuse_unknown_keys(cls: type[Config], values: Mapping[str, Any], source: Source) -> None:
    valid = set(setting_names(cls))
    groups = {name.rpartition(".")[0] for name in valid} | {""}

    def walk(mapping: Mapping[str, Any], prefix: str) -> None:
        for key, value in mapping.items():
            if prefix + key not in valid:
                raise UserError(f"{said(source, prefix + key)}: {unknown_key(cls, prefix + key)}")
            if isinstance(value, Mapping) and prefix + key in groups:
                walk(value, f"{prefix}{key}.")

    walk(values, "")


def _defaults(cls: type[C], values: Mapping[str, Any], source: Source, prefix: str = "") -> C:
    """A `cls` of the preset's values and the defaults, with tyro's mark where a flag must come."""
    import tyro

    fields: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        is_group = isinstance(field.annotation, type) and issubclass(field.annotation, Config)
        if is_group and (field.is_required() or name in values):
            given = values.get(name) or {}
            if isinstance(given, Mapping):
                if not field.is_required():  # what the preset leaves out keeps the group's own default
                    group = field.get_default(call_default_factory=True)
                    given = {**{key: getattr(group, key) for key in type(group).model_fields}, **given}
                fields[name] = _defaults(field.annotation, given, source, f"{prefix}{name}.")  # type: ignore[arg-type]
                continue
        if name not in values:
            default = field.get_default(call_default_factory=True)
            fields[name] = tyro.MISSING if field.is_required() else default
            continue
        try:
            fields[name] = pydantic.TypeAdapter(field.annotation).validate_python(values[name])  # type: ignore[arg-type]
        except pydantic.ValidationError as error:
            message = error.errors()[0]["msg"]
            key = f"{prefix}{name}"
            raise UserError(f"{said(source, key)}: key {key!r}: {message}; got {values[name]!r}") from None
    return cls.model_construct(**fields)


def _with_flags(cls: type[C], default: C, flags: list[str], description: str) -> C:
    import tyro

    caught = io.StringIO()
    asked_for_help = bool(HELP & set(flags))
    quiet = contextlib.nullcontext() if asked_for_help else contextlib.redirect_stderr(caught)
    try:
        with quiet:
            return tyro.cli(
                cls,
                default=default,
                args=flags,
                description=f"{description}\n\n--config FILE  a YAML preset, or the name of a shipped one, "
                "such as tiny/generate; flags override it",
                config=(tyro.conf.AvoidSubcommands,),
            )
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"command line: {key}: {problem['msg']}".replace(" : ", " ")) from None
    except SystemExit as stop:
        if asked_for_help or not stop.code:
            raise
        text = re.sub(r"[\u2500-\u257f]+", " ", caught.getvalue())
        text = re.sub(r"\x1b\[[0-9;]*m", "", text).partition("For full helptext")[0]
        raise UserError(f"command line: {_plainly(' '.join(text.split()), cls)}; see --help") from None


_TYRO = (  # what tyro says, and what is said instead
    (
        re.compile(r"nvalid choice '(.*?)' for argument '(\S+)'\. Expected one of \((.*?),?\)\."),
        r"\2: got \1; expected one of \3",
    ),
    (re.compile(r"Missing value for argument '(\S+)'"), r"\1: a value must follow it"),
    (
        re.compile(r"Unrecognized options: (\S+).*"),
        r"unexpected argument \1; a text with blanks goes in quotes",
    ),
)
_REFUSED = re.compile(
    r"Error parsing (?P<group>\S+): \d+ validation errors? for \w+ "
    r"(?P<said>.*?) \[type=\w+, input_value=(?P<value>.*?), input_type="
)


def _plainly(text: str, cls: type[Config]) -> str:
    """What pydantic refused, by the setting's name, without what tyro and pydantic say around it."""
    for pattern, message in _TYRO:
        if told := pattern.search(text):
            return told.expand(message).replace("'", "")
    found = _REFUSED.search(text)
    if found is None:
        return text.removeprefix("Value error Error parsing ").partition(" Argument helptext:")[0]
    group, said = found["group"], found["said"]
    if said.startswith("Value error, "):  # of a group as a whole: its words name the settings
        return said.removeprefix("Value error, ")
    name, _, message = said.partition(" ")
    key = name if group == cls.__name__ else f"{group}.{name}"
    return f"{key}: {message.removeprefix('Value error, ')}; got {found['value']}"
