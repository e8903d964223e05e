"""Every setting of every command explains itself: its help stands alone, and differs from all others."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from syncflow.config import Config

LEAST = 20  # characters
LEANING = ("likewise", "so for the next", "the same for", "as above", "see above", "ditto")


@pytest.fixture(scope="module")
def commands(repository: Path) -> Iterator[dict[str, type[Config]]]:
    """Each command's settings, as the generated reference finds them."""
    sys.path.insert(0, str(repository / "docs" / "site"))
    try:
        from settings_pages import command_configs

        yield {path.stem: config for path, config in command_configs(repository).items()}
    finally:
        sys.path.pop(0)


def settings(config: type[Config], prefix: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Dotted name, name with its class, and field of each setting and each group of settings."""
    from settings_pages import configs_in

    for name, field in config.model_fields.items():
        yield f"{prefix}{name}", f"{config.__name__}.{name}", field
        for inner in configs_in(field.annotation):
            yield from settings(inner, f"{prefix}{name}.")


def test_every_command_is_found(commands: dict[str, type[Config]], repository: Path) -> None:
    assert set(commands) == {path.stem for path in (repository / "pipelines").glob("*.py")} - {"__init__"}


def test_every_setting_has_a_help_text_that_stands_alone(commands: dict[str, type[Config]]) -> None:
    wrong = {}
    for command, config in commands.items():
        for name, _, field in settings(config):
            text = " ".join((field.description or "").split())
            leans = any(word in text.lower() for word in LEANING) or text.startswith(
                ("Their", "Its ", "Of these")
            )
            if len(text) < LEAST or not text.endswith((".", "...")) or leans:
                wrong[f"{command}: {name}"] = text
    assert not wrong


def test_no_two_settings_of_a_command_have_the_same_help_text(commands: dict[str, type[Config]]) -> None:
    repeated = {}
    for command, config in commands.items():
        owners = defaultdict(set)
        for _, owner, field in settings(config):
            owners[" ".join((field.description or "").split())].add(owner)
        repeated |= {f"{command}: {text}": names for text, names in owners.items() if len(names) > 1}
    assert not repeated
