"""Precompute under Ray Data, as a user runs it: same set as the loop, and none lost to a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from syncflow.data.batches import LatentDataset
from tests.precompute_case import content, settings, write_media, write_weights

pytestmark = pytest.mark.ray
GOOD = 10


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    write_media(folder / "clips", good=GOOD)
    write_weights(folder / "weights")
    values = settings(folder / "clips", folder / "weights", folder / "loop")
    (folder / "precompute.yaml").write_text(yaml.safe_dump(values))
    return folder


def start(case: Path, repository: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "pipelines/precompute_latents.py", "--config", str(case / "precompute.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [*command, *flags],
        cwd=repository,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def unbroken(case: Path, repository: Path) -> dict[str, str]:
    finish(start(case, repository, "--executor", "loop"))
    return content(case / "loop")


def test_ray_gives_the_same_clips_and_latents_as_the_loop(
    case: Path, repository: Path, unbroken: dict[str, str]
) -> None:
    told = finish(start(case, repository, "--executor", "ray", "--output", str(case / "ray")))
    assert content(case / "ray") == unbroken
    assert len(LatentDataset(case / "ray")) == 2 * GOOD
    assert f"{GOOD + 2}/{GOOD + 2} clips" in told


@pytest.mark.slow
def test_killed_driver_loses_and_doubles_nothing(
    case: Path, repository: Path, unbroken: dict[str, str]
) -> None:
    output = case / "killed"
    process = start(case, repository, "--executor", "ray", "--output", str(output), "--workers", "1")
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        if list((output / "ledger").glob("*.parquet")):  # some are committed, most are not
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "dataset.json").exists(), "the job was done before it could be killed"
    assert 0 < len(content(output)) < len(unbroken)
    finish(start(case, repository, "--executor", "ray", "--output", str(output)))
    assert content(output) == unbroken
    assert len(LatentDataset(output)) == 2 * GOOD
