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
from syncflow.generation.config import GenerateConfig
from syncflow.training.stage.config import TrainConfig


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


def test_a_folder_is_made_absolute_and_a_name_of_a_shipped_or_hub_model_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for given, sent in (("runs", tmp_path / "runs"), ("tiny", "tiny"), ("a/b", "a/b"), ("", "")):
        job = GenerateConfig(output=tmp_path, checkpoint=Path(given), video_vae=given)
        there = with_absolute_paths(job)
        assert (there.checkpoint, there.video_vae) == (Path(sent), str(sent)), given


def test_setting_names_are_dotted_and_complete() -> None:
    assert {"output", "tower", "tower.depth", "tower.weights", "rate"} <= set(setting_names(Job))


def refusal(cls: type[Config], *argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_arguments(cls, description="job", argv=argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Listed(Config):
    prompts: tuple[str, ...] = ("from the preset",)
    folders: tuple[Path, ...] = ()
    against: str = ""
    tower: Tower = Tower()


def test_a_list_flag_that_comes_several_times_adds_up() -> None:
    argv = ["--prompts", "a", "b", "--against", "x", "--prompts", "c", "--prompts=d", "--folders", "~/x", "y"]
    job = parse_arguments(Listed, description="job", argv=argv)
    assert job.prompts == ("a", "b", "c", "d") and job.against == "x"
    assert job.folders == (Path.home() / "x", Path("y"))


def test_a_value_may_begin_with_dashes() -> None:
    argv = ["--prompts", "--- a drum ---", "-3 dB", "--against", "--- noise", "--prompts=--x"]
    job = parse_arguments(Listed, description="job", argv=argv)
    assert job.prompts == ("--- a drum ---", "-3 dB", "--x") and job.against == "--- noise"


def test_a_list_flag_takes_the_place_of_the_presets_list(tmp_path: Path) -> None:
    path = preset(tmp_path, "output: /o\nsizes: [1, 2]\n")
    assert parse_arguments(Job, description="j", argv=["--config", str(path), "--sizes", "3"]).sizes == (3,)
    assert "command line: key 'sizes'" in refusal(Job, "--output", "/o", "--sizes", "three")


def test_home_is_expanded_in_flags_and_presets_and_in_paths_alone(tmp_path: Path) -> None:
    path = preset(tmp_path, "output: ~/x\ntower: {weights: ~/w}\n")
    for job in (
        load_config(Job, path),
        parse_arguments(Job, description="job", argv=["--output=~/x"]),
        parse_arguments(Job, description="job", argv=["--config", str(path), "--quick"]),
    ):
        assert job.output == Path.home() / "x"
    assert load_config(Job, path).tower.weights == "~/w"  # a text, not said to be a place


def test_a_preset_that_extends_itself_is_refused(tmp_path: Path) -> None:
    preset(tmp_path, "extends: b.yaml\n", "a.yaml")
    path = preset(tmp_path, "extends: a.yaml\n", "b.yaml")
    assert "extends itself (b.yaml -> a.yaml -> b.yaml)" in refusal(Job, "--config", str(path))


def test_a_key_that_comes_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = preset(tmp_path, "output: /o\ntower:\n  depth: 3\n  depth: 4\n")
    assert "key 'depth' is on line 3 and on line 4; keep one" in refusal(Job, "--config", str(path))


@pytest.mark.parametrize("flags", [[], ["--rate", "1"]])
@pytest.mark.parametrize("fault", ["tower: {dpeth: 3}", "tower: {depth: deep}"])
def test_a_fault_is_told_of_the_file_that_has_it(tmp_path: Path, fault: str, flags: list[str]) -> None:
    base = preset(tmp_path, f"output: /o\n{fault}\n", "base.yaml")
    top = preset(tmp_path, "extends: base.yaml\ntower: {weights: a}\n")
    assert refusal(Job, "--config", str(top), *flags).startswith(f"config {base}: ")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["job.yaml", "--rate", "1"], "unexpected argument 'job.yaml'"),
        (["job.yaml", "--rate", "1"], "did you mean --config job.yaml?"),
        (["--rate", "1"], "missing --output; give it as a flag, or give a preset with --config"),
        (["--output", "/o", "--tower", "3"], "a group of settings; give one of --tower.depth, --tower.w"),
        (["--output", "/o", "--depth", "3"], "unknown flag '--depth'; did you mean '--tower.depth'?"),
        (["--no-quik"], "did you mean"),
        (["--output", "/o", "--rate"], "--rate: a value must follow it"),
    ],
)
def test_what_is_likely_meant_is_said(argv: list[str], told: str) -> None:
    assert told in refusal(Job, *argv)


def test_every_training_setting_without_its_group_is_told_its_whole_name() -> None:
    names = list(setting_names(TrainConfig))
    groups = {name.rpartition(".")[0] for name in names}
    for name in names:
        leaf = name.rpartition(".")[2]
        if name in groups or leaf in names:
            continue
        told = refusal(TrainConfig, f"--{leaf.replace('_', '-')}", "1")
        wanted = [f"'--{n.replace('_', '-')}'" for n in names if n.endswith(f".{leaf}") and n not in groups]
        assert any(each in told for each in wanted), told
    assert "did you mean '--engine.no-bf16'?" in refusal(TrainConfig, "--no-engine.bf16")


def test_a_choice_that_is_not_one_names_the_choices() -> None:
    told = refusal(TrainConfig, "--stage", "vidio", "--data", "d")
    assert told == "command line: --stage: got vidio; expected one of video, audio, joint; see --help"


PIPELINES = sorted(p.name for p in (Path(__file__).parents[2] / "pipelines").glob("[!_]*.py"))


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
