"""The programs for foreign systems, each run by the Python of another environment, as make_audio.py does."""

import ast
import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from syncflow.config import load_config
from syncflow.media import decode_audio, probe
from syncflow.shipped import PRESETS
from syncflow.systems.card import SystemCard
from syncflow.systems.config import MakeAudioConfig
from syncflow.systems.foreign import PROGRAMS
from syncflow.systems.make_audio import make_audio
from tests.syncflow.systems.foreign_environment import (
    KEYS,
    MARKERS,
    add_stand_ins,
    make_environment,
    run_program,
    write_system,
    write_tensors,
)
from tests.syncflow.systems.videos import SPEC, write_videos

OWN = ("torch_weights", "foreign_exchange")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without packages."""
    return make_environment(tmp_path_factory.mktemp("bare") / "env")


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.name)
def test_a_program_is_python_3_8_and_begins_without_any_package(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] in (*sys.stdlib_module_names, *OWN), f"{path.name} imports {name}"


@pytest.mark.parametrize("program", sorted(KEYS))
def test_check_names_what_is_missing_or_bad_in_one_line(program: str, bare: Path, tmp_path: Path) -> None:
    weights, source = write_system(tmp_path, program)
    given = ["--check", "--weights", weights, *(["--source", source] if program in MARKERS else [])]
    done = run_program(bare, program, *given)
    assert done.returncode == 1 and "licence" in done.stdout
    assert done.stderr.count("\n") == 1 and "no module" in done.stderr and str(bare) in done.stderr
    name, keys = next(iter(KEYS[program].items()))
    path = weights / name
    whole = path.read_bytes()
    for content, told in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (whole[: len(whole) // 2], "no whole PyTorch file"),
        (b"<html>not found</html>", "no whole PyTorch file"),
        (None, "not there"),
    ):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        elif program == "run_specvqgan.py":
            told = "no checkpoints/*.ckpt there"
        done = run_program(bare, program, *given)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert told in done.stderr and str(weights) in done.stderr
        path.touch()
    write_tensors(path, keys[:-1])
    done = run_program(bare, program, *given)
    assert done.returncode == 1 and "not the weights of" in done.stderr and str(path) in done.stderr


@pytest.mark.parametrize("program", sorted(KEYS))
def test_check_passes_where_weights_and_packages_are(program: str, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env")
    add_stand_ins(python, program)
    weights, source = write_system(tmp_path, program)
    given = ["--check", "--weights", weights, *(["--source", source] if program in MARKERS else [])]
    done = run_program(python, program, *given)
    assert done.returncode == 0, done.stderr
    assert "licence" in done.stdout.splitlines()[0] and "are there" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["audiogen", "diff_foley", "specvqgan"])
def test_a_preset_drives_its_program_from_videos_to_clips(name: str, tmp_path: Path, capfd) -> None:
    """The system's own code is a stand-in; preset, program, contract, card and clips are real.

    So is torch for SpecVQGAN, whose codes the program itself draws: its import takes seconds.
    """
    program = f"run_{name}.py"
    python = make_environment(tmp_path / "env")
    add_stand_ins(python, program)
    weights, source = write_system(tmp_path, program)
    write_videos(tmp_path / "videos", 3)
    (tmp_path / "videos" / "broken.mp4").unlink()
    values = {
        "video": str(tmp_path / "videos"),
        "output": str(tmp_path / "made"),
        "clip": SPEC.model_dump(),
        "accept_noncommercial_licence": True,
        "foreign": {
            "command": [str(python), f"{{programs}}/{program}"],
            "weights_folder": str(weights),
            "source": str(source),
        },
    }
    config = load_config(MakeAudioConfig, PRESETS / "foreign" / f"{name}.yaml", values)
    lines = make_audio(config)
    log = (tmp_path / "made" / "exchange" / "log.txt").read_text(encoding="utf-8")
    assert "licence" in log.splitlines()[0]
    assert f", licence {config.foreign.licence}" in capfd.readouterr().out
    expected = {"audiogen": "no such thing", "diff_foley": "3 frames at 4 fps, Diff-Foley needs 32"}
    for line in lines:
        if name in expected and line.clip.row == 1:
            assert expected[name] in line.failure
        else:
            assert not line.failure, f"{line.failure}\n{log}"
    first, last = (decode_audio(tmp_path / "made" / f"{row:05}-0.mp4", sample_rate=16_000) for row in (0, 2))
    assert np.abs(first).max() > 0.05
    assert np.abs(first[:7000] - last[:7000]).max() > 1e-3  # each with its own seed
    card = SystemCard.read(tmp_path / "made")
    assert all(len(each.sha256) == 64 for each in card.weights) and card.settings["video_seconds"]
    before = card.sha256
    write_tensors(weights / next(iter(KEYS[program])), ("other",))
    with pytest.raises(Exception, match="not the weights of"):
        make_audio(config.model_copy(update={"output": tmp_path / "other"}))
    assert SystemCard.read(tmp_path / "other").sha256 != before


def test_codi_makes_the_clips_that_the_tables_take(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env")
    add_stand_ins(python, "run_codi.py")
    weights, source = write_system(tmp_path, "run_codi.py")
    prompts, output = tmp_path / "prompts.csv", tmp_path / "clips"
    prompts.write_text("prompt\na drum\nnone\na bell\n", encoding="utf-8")
    given = ["--weights", weights, "--source", source, "--prompts", prompts, "--output", output]
    done = run_program(python, "run_codi.py", *given)
    assert done.returncode == 3, done.stderr
    with (output / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [f"{number:05}-0.mp4" for number in range(3)]
    assert [bool(row["failure"]) for row in rows] == [False, True, False]
    info = probe(output / "00002-0.mp4")
    assert (info.width, info.height) == (256, 256) and abs(info.video_end_s - 2.0) < 0.01
    assert SystemCard.read(output).kind == "text_to_audio_video"
    before = (output / "00000-0.mp4").stat().st_mtime_ns
    prompts.write_text("prompt\na drum\na dog\na bell\n", encoding="utf-8")
    done = run_program(python, "run_codi.py", *given)
    assert done.returncode == 0 and "2 clips are there, 1 to make" in done.stdout
    assert (output / "00000-0.mp4").stat().st_mtime_ns == before
    assert json.loads((output / "00001-0.json").read_text())["made_by"]["prompt"] == "a dog"


def test_what_needs_a_gpu_says_so_and_wrong_settings_are_named(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env")
    add_stand_ins(python, "run_diff_foley.py", gpu=False)
    weights, source = write_system(tmp_path, "run_diff_foley.py")
    folder = tmp_path / "exchange"
    (folder / "outputs").mkdir(parents=True)
    (folder / "inputs.csv").write_text("id,video,prompt,seed\na,/v.mp4,,1\n")
    contract = {"version": 1, "weights_folder": str(weights), "source": str(source)}
    good = {"steps": "25", "scale": "4.5", "classifier_guidance": "50"}
    for settings, told in (
        (good, "needs a GPU"),
        ({**good, "steps": "many"}, "steps: expected int, got 'many'"),
        ({**good, "top_k": "1"}, "top_k is unknown"),
        ({"steps": "25"}, "is missing"),
    ):
        (folder / "contract.json").write_text(json.dumps({**contract, "settings": settings}))
        done = run_program(python, "run_diff_foley.py", folder)
        assert done.returncode == 1 and done.stderr.splitlines()[-1].count(told) == 1, done.stderr
    (folder / "contract.json").write_text(json.dumps({**contract, "version": 9}))
    assert "contract version 9" in run_program(python, "run_diff_foley.py", folder).stderr
