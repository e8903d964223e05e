"""Presets and flags: strict, typed, overridable, and round-tripping."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, model_validator

from syncflow.command_line import parse_arguments
from syncflow.config import Config, dump_config, load_config, setting_names, with_absolute_paths
from syncflow.errors import UserError


class Tower(Config):
    depth: int = Field(default=28, ge=1)
    """Layers."""
    weights: str = "none"
    """Folder or hub id."""


class Job(Config):
    output: Path
    """Folder that is written."""
    tower: Tower = Tower()
    rate: float = 1e-4
    """Learning rate."""
    sizes: tuple[int, ...] = (256,)
    """Pixels."""
    quick: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Job":
        if self.quick and self.rate > 1:
            raise ValueError(f"rate {self.rate:g} with quick: expected at most 1; lower it")
        return self


def preset(folder: Path, text: str, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_preset_states_only_differences(tmp_path: Path) -> None:
    job = load_config(Job, preset(tmp_path, "output: /o\ntower: {depth: 4}\n"))
    assert job == Job(output=Path("/o"), tower=Tower(depth=4))


def test_extends_merges_key_by_key(tmp_path: Path) -> None:
    preset(tmp_path, "output: /o\ntower: {depth: 4, weights: a}\n", "base.yaml")
    job = load_config(Job, preset(tmp_path, "extends: base.yaml\ntower: {weights: b}\n"))
    assert job.tower == Tower(depth=4, weights="b")


def test_dotted_paths_are_relative_to_the_preset_and_others_are_left_alone(tmp_path: Path) -> None:
    job = load_config(Job, preset(tmp_path, "output: out/x\ntower: {weights: ./w}\n"))
    assert job.tower.weights == str(tmp_path / "w")
    assert job.output == Path("out/x")


def test_flags_override_the_preset_and_keep_the_rest(tmp_path: Path) -> None:
    path = preset(tmp_path, "output: /o\ntower: {weights: a}\nrate: 0.5\n")
    argv = ["--config", str(path), "--tower.depth", "3", "--sizes", "64", "128", "--quick"]
    job = parse_arguments(Job, description="job", argv=argv)
    assert job == Job(
        output=Path("/o"), tower=Tower(depth=3, weights="a"), rate=0.5, sizes=(64, 128), quick=True
    )


class Wide(Config):
    tower: Tower = Tower(depth=40, weights="w")


@pytest.mark.parametrize("flags", [[], ["--tower.weights", "v"]])
def test_a_group_given_in_part_keeps_the_rest_of_its_default(tmp_path: Path, flags: list[str]) -> None:
    path = preset(tmp_path, "tower: {weights: v}\n")
    config = parse_arguments(Wide, description="wide", argv=["--config", str(path), *flags])
    assert config.tower == Tower(depth=40, weights="v")


def test_the_dump_loads_as_the_same_config(tmp_path: Path) -> None:
    job = Job(output=Path("/o"), tower=Tower(depth=2), sizes=(1, 2))
    dump_config(job, tmp_path / "resolved.yaml")
    assert load_config(Job, tmp_path / "resolved.yaml") == job


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--tower.depth", "-3"], "tower.depth: Input should be greater than or equal to 1; got -3"),
        (["--quick", "--rate", "2"], "rate 2 with quick: expected at most 1; lower it"),
        (["--rate", "fast"], "--rate: could not convert string to float: 'fast'"),
    ],
)
def test_a_refused_value_is_told_without_the_words_of_the_libraries(flags: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_arguments(Job, description="job", argv=["--output", "/o", *flags])
    assert str(caught.value) == f"command line: {told}; see --help"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--output", "/o", "--tower.dept", "3"], ["--tower.dept", "--tower.depth"]),
        (["--output", "/o", "--rate", "fast"], ["--rate", "fast"]),
        (["--quick"], ["--output"]),
        (["--config"], ["--config"]),
        (["--config", "/nowhere.yaml"], ["/nowhere.yaml"]),
    ],
)
def test_a_wrong_flag_is_one_line_with_the_remedy(argv: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_arguments(Job, description="job", argv=argv)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("output: /o\ntower: {dpeth: 3}\n", ["tower.dpeth", "tower.depth"]),
        ("output: /o\ntower: {depth: deep}\n", ["tower.depth", "deep"]),
        ("output: /o\noutputs: 1\n", ["outputs", "output"]),
        ("tower: {depth: 3}\n", ["output"]),
        ("- a\n", ["mapping"]),
        ("a: [\n", ["YAML"]),
    ],
)
def test_a_wrong_preset_is_one_line_with_the_nearest_key(tmp_path: Path, text: str, words: list[str]) -> None:
    path = preset(tmp_path, text)
    for argv in (["--config", str(path)], ["--config", str(path), "--rate", "1"]):
        if words == ["output"] and "--rate" in argv:
            continue  # then the flag line names what is missing: tested above
        with pytest.raises(UserError) as caught:
            parse_arguments(Job, description="job", argv=argv)
        message = str(caught.value)
        assert "\n" not in message
        assert all(word in message for word in words), message


def test_paths_are_made_absolute_for_another_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    job = with_absolute_paths(Job(output=Path("out"), tower=Tower(depth=2)))
    assert job == Job(output=tmp_path / "out", tower=Tower(depth=2))


def test_setting_names_are_dotted_and_complete() -> None:
    assert {"output", "tower", "tower.depth", "tower.weights", "rate"} <= set(setting_names(Job))


PIPELINES = sorted(p.name for p in (Path(__file__).parents[2] / "pipelines").glob("*.py"))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_pipeline_answers_a_wrong_flag_at_once(pipeline: str, repository: Path) -> None:
    def spent() -> float:
        """Processor seconds of the children so far: a busy machine is slow, not wrong."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    command = [sys.executable, str(repository / "pipelines" / pipeline), "--no-such-flag", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "--no-such-flag" in done.stderr, done.stderr
    assert spent() - before < 3, "2 s is the goal on an idle machine"
