"""Datasets of older versions: refused with a command, and that command brings them up to date."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from preprocessing.job import precompute
from syncflow.data.batches import LatentDataset
from syncflow.data.upgrade import upgrade_dataset
from syncflow.data.verify import find_faults
from syncflow.errors import UserError
from syncflow.hashing import settings_sha256
from tests.precompute_case import job, write_media, write_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_weights(root / "weights")
    write_media(root / "clips", good=3)
    assert precompute(job(root / "clips", root / "weights", root / "latents")) == 0
    return root


@pytest.fixture
def older(made: Path, tmp_path: Path) -> Path:
    """The dataset as versions wrote it that knew neither an index nor frame spans."""
    folder = tmp_path / "latents"
    shutil.copytree(made / "latents", folder)
    shutil.rmtree(folder / "index")
    values = json.loads((folder / "dataset.json").read_text())
    for name in ("sha256", "frame_spans", "index_sha256"):
        del values[name]
    (folder / "dataset.json").write_text(json.dumps({**values, "sha256": settings_sha256(values)}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        LatentDataset(folder)
    return str(caught.value)


def run_told(message: str) -> str:
    """Run the command that a message ends with, from the folder of the project; its output."""
    command = shlex.split(message.split("with: ")[1])
    assert command[0] == "python"
    done = subprocess.run(
        [sys.executable, *command[1:], "--no-card"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_older_dataset_names_a_command_that_makes_it_what_it_would_be_today(
    made: Path, older: Path
) -> None:
    message = refusal(older)
    assert re.search(r"of an older version .* without frame_spans and index_sha256; add it with: ", message)
    assert "its index is written" in run_told(message)
    upgraded, today = LatentDataset(older), LatentDataset(made / "latents")
    assert upgraded.manifest == today.manifest and upgraded.fingerprint == today.fingerprint
    one, other = (each.batch(0, batch_size=4).latents.video for each in (upgraded, today))
    assert torch.equal(one, other) and not list(find_faults(older))


@pytest.mark.parametrize("lost", [False, True])
def test_a_lost_or_damaged_index_names_a_command_that_writes_it_again(
    made: Path, tmp_path: Path, lost: bool
) -> None:
    folder = tmp_path / "latents"
    shutil.copytree(made / "latents", folder)
    (path,) = (folder / "index").glob("*.parquet")
    good = path.read_bytes()
    path.unlink() if lost else path.write_bytes(good[:-20] + b"\0" * 20)
    message = refusal(folder)
    assert ("missing" if lost else "damaged") in message
    assert any(path.name in fault for fault in find_faults(folder))
    upgrade_dataset(folder)  # what the command calls
    assert path.read_bytes() == good and not list(find_faults(folder))


def test_another_video_vae_is_not_asked_for_the_spans(older: Path, tmp_path: Path) -> None:
    write_weights(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="give --video-vae the one that made it"):
        upgrade_dataset(older, video_vae=str(tmp_path / "other" / "video_vae"))
    assert not (older / "index").exists() and "of an older version" in refusal(older)
