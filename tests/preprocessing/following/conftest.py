"""A dataset as its first job left it, made once, and copied for each test."""

import shutil
from pathlib import Path

import pytest

from preprocessing.job import precompute
from tests.precompute_case import write_clip_number
from tests.preprocessing.following.case import GOOD, of_table, write_table


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "clips"
    folder.mkdir()
    for number in range(GOOD):
        write_clip_number(folder / f"clip{number}.mp4", number)
    write_table(folder)
    return folder


@pytest.fixture(scope="session")
def first(originals: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first") / "latents"
    assert precompute(of_table(originals, weights, output)) == 0
    return output


@pytest.fixture
def clips(originals: Path, tmp_path: Path, first: Path) -> Path:
    """The clips, at a place of their own; and a dataset of them, `out`, as the first job left it."""
    folder = Path(shutil.copytree(originals, tmp_path / "clips"))
    shutil.copytree(first, tmp_path / "out")
    return folder
