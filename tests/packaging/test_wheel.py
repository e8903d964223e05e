"""The wheel, installed alone with the packages of the base install: it makes a clip in a foreign folder."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PARTS = ("syncflow", "preprocessing", "infra", "pipelines", "pyproject.toml", "README.md", "LICENSE")
NOT_IN_BASE = ("ray", "deepspeed", "mlflow", "gradio", "torchmetrics", "peft", "pyarrow")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as a release is: without the network and without what lies in the checkout."""
    root = tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(repository / name, root / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "out",
        ".",
    ]
    subprocess.run(command, cwd=root, check=True)
    (built,) = (root / "out").glob("syncflow-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, what it requires without any extra, and nothing else."""
    folder = tmp_path_factory.mktemp("alone") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q"]
    # a checkout that PYTHONPATH names would count as installed
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, env=own)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in required(Distribution.at(next(site.glob("syncflow-*.dist-info")))):
        for entry in top_level(package):
            if not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    return folder


def required(package: Distribution, seen: set[str] | None = None) -> Iterator[Distribution]:
    """All that a distribution needs by its metadata, without extras of its own."""
    seen = set() if seen is None else seen
    for text in package.requires or ():
        need = Requirement(text)
        if need.name in seen or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        seen.add(need.name)
        try:
            found = distribution(need.name)
        except PackageNotFoundError:
            continue  # optional on this machine, as CUDA's libraries beside a CPU build of torch
        yield found
        yield from required(found, seen)


def top_level(package: Distribution) -> set[Path]:
    """Its folders and files in site-packages."""
    site = Path(str(package.locate_file("")))
    return {
        site / file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")
    }


def run(environment: Path, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = environment / "bin" / command[0]
    return subprocess.run(
        [str(path), *command[1:]], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )


def test_presets_weights_and_types_are_in_the_wheel(wheel: Path, repository: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = repository / "pipelines" / "configs"
    presets = {path.relative_to(repository).as_posix() for path in configs.rglob("*") if path.is_file()}
    assert presets and presets <= names and "syncflow/py.typed" in names


def test_every_pipeline_has_a_command_of_its_name(repository: Path) -> None:
    import pipelines

    scripts = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["scripts"]
    named = {name.removeprefix("syncflow-").replace("-", "_") for name in scripts}
    files = {path.stem for path in (repository / "pipelines").glob("*.py")} - {"__init__"}
    assert {pipelines.SHORT.get(name, name) for name in named} == files and len(named) == len(files)


@pytest.mark.slow
def test_the_base_install_makes_a_clip_in_a_foreign_folder(installed: Path, tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {NOT_IN_BASE} if u.find_spec(n)])"
    assert run(installed, ["python", "-c", code], tmp_path).stdout.strip() == "[]"
    flags = [
        "--config",
        "tiny/generate",
        "--prompt",
        "a drumstick hits a wooden block",
        "--solver.steps",
        "2",
    ]
    done = run(installed, ["syncflow-generate", *flags, "--output", "clips"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clips" / "00000-0.mp4").stat().st_size > 1000


@pytest.mark.slow
def test_without_an_extra_a_command_names_it_in_one_line(installed: Path, tmp_path: Path) -> None:
    done = run(installed, ["syncflow-compare-runs", "--tracking-uri", "http://127.0.0.1:9"], tmp_path)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert re.search(r"needs mlflow.*pip install 'syncflow\[tracking\]'", done.stderr), done.stderr
