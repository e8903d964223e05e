"""What comes with the package is found by its name from any folder; what lies at hand goes before it."""

from pathlib import Path

import pytest

import syncflow
from syncflow.command_line import parse_arguments
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.shipped import PRESETS, find_preset, shipped_presets


@pytest.mark.parametrize(
    "name", ["tiny/generate", "tiny/generate.yaml", "pipelines/configs/tiny/generate.yaml"]
)
def test_a_shipped_preset_is_found_by_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_preset(Path(name)) == PRESETS / "tiny" / "generate.yaml"
    assert parse_arguments(GenerateConfig, description="", argv=["--config", name]).checkpoint == Path("tiny")
    own = tmp_path / name
    own.parent.mkdir(parents=True)
    own.write_text("{checkpoint: mine, output: out}")
    assert parse_arguments(GenerateConfig, description="", argv=["--config", name]).checkpoint == Path("mine")


def test_a_name_that_is_none_says_how_presets_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"config tinny/generate: .*a shipped preset by name, such as tiny/"):
        parse_arguments(GenerateConfig, description="", argv=["--config", "tinny/generate"])
    assert "tiny/generate" in shipped_presets() and "vggsound/precompute" in shipped_presets()


def test_the_public_names_are_the_classes_of_their_modules() -> None:
    assert set(syncflow.__all__) <= set(dir(syncflow))
    for name in set(syncflow.__all__) - {"__version__"}:
        assert getattr(syncflow, name).__module__.startswith("syncflow."), name
    with pytest.raises(AttributeError, match="no_such"):
        syncflow.no_such  # noqa: B018
