"""One command line for every pipeline: `--config PRESET` and a typed flag for each setting."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from syncflow.config import Config, nearest, read_preset, setting_names, unknown_key, validate
from syncflow.errors import UserError

C = TypeVar("C", bound=Config)
HELP = {"-h", "--help"}


def parse_arguments(cls: type[C], *, description: str, argv: Sequence[str] | None = None) -> C:
    """`--config FILE` (optional when every setting has a default) and one typed flag a setting.

    Raises:
        UserError: an unknown flag or key (with the nearest valid one), or a wrong or missing value.
    """
    preset, rest = _split_preset(list(sys.argv[1:] if argv is None else argv))
    if not HELP & set(rest):
        _refuse_unknown_flags(cls, rest)
    source = f"config {preset}" if preset else "command line"
    values = read_preset(preset) if preset else {}
    if not rest:
        return validate(cls, values, source=source)
    _refuse_unknown_keys(cls, values, source)
    return _with_flags(cls, _defaults(cls, values, source), rest, description)


def run(main: Callable[[], int | None]) -> None:
    """Call a pipeline's `main`; a `UserError` is printed as one line and exits with status 2."""
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)


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
            raise UserError("--config: expected the path of a YAML preset after it")
        preset = Path(value)
    return preset, rest


def _refuse_unknown_flags(cls: type[Config], arguments: list[str]) -> None:
    valid = {name.replace("_", "-") for name in setting_names(cls)}
    negated = {re.sub(r"([^.]+)$", r"no-\1", name) for name in valid}
    for argument in arguments:
        flag = argument.partition("=")[0]
        name = flag[2:].replace("_", "-")
        if flag.startswith("--") and name not in valid | negated:
            hint = nearest(name, sorted(valid)).replace("did you mean '", "did you mean '--")
            raise UserError(f"unknown flag {flag!r}; {hint}")


def _refuse_unknown_keys(cls: type[Config], values: Mapping[str, Any], source: str) -> None:
    valid = set(setting_names(cls))
    groups = {name.rpartition(".")[0] for name in valid} | {""}

    def walk(mapping: Mapping[str, Any], prefix: str) -> None:
        for key, value in mapping.items():
            if prefix + key not in valid:
                raise UserError(f"{source}: {unknown_key(cls, prefix + key)}")
            if isinstance(value, Mapping) and prefix + key in groups:
                walk(value, f"{prefix}{key}.")

    walk(values, "")


def _defaults(cls: type[C], values: Mapping[str, Any], source: str, prefix: str = "") -> C:
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
            raise UserError(f"{source}: key '{prefix}{name}': {message}; got {values[name]!r}") from None
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
                description=f"{description}\n\n--config FILE  a YAML preset; flags override it",
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


_REFUSED = re.compile(
    r"Error parsing (?P<group>\S+): \d+ validation errors? for \w+ "
    r"(?P<said>.*?) \[type=\w+, input_value=(?P<value>.*?), input_type="
)


def _plainly(text: str, cls: type[Config]) -> str:
    """What pydantic refused, by the setting's name, without what tyro and pydantic say around it."""
    found = _REFUSED.search(text)
    if found is None:
        return text.removeprefix("Value error Error parsing ").partition(" Argument helptext:")[0]
    group, said = found["group"], found["said"]
    if said.startswith("Value error, "):  # of a group as a whole: its words name the settings
        return said.removeprefix("Value error, ")
    name, _, message = said.partition(" ")
    key = name if group == cls.__name__ else f"{group}.{name}"
    return f"{key}: {message.removeprefix('Value error, ')}; got {found['value']}"
