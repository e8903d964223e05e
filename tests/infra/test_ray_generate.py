"""Generation under Ray Data, as a user runs it: the same clips, bit for bit, as the loop makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.syncflow.systems.conftest import tiny_pipeline

pytestmark = pytest.mark.ray
PROMPTS = ("wood is hit", "metal", "cloth, softly", "gravel", "a drum", "glass")


def generate(repository: Path, *arguments: object) -> str:
    flags = (
        "--batch-size",
        "2",
        "--solver.steps",
        "2",
        "--clip.seconds",
        "0.5",
        "--no-strip",
        "--device",
        "cpu",
    )
    size = ("--clip.height", "32", "--clip.width", "32")
    command = [sys.executable, "pipelines/generate.py", *flags, *size, *(str(a) for a in arguments)]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        command, cwd=repository, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def latents(folder: Path) -> dict[str, dict[str, str]]:
    return {path.name: json.loads(path.read_text())["latents"] for path in folder.glob("*.json")}


def test_clips_do_not_depend_on_the_executor_the_workers_or_a_stop_between(
    repository: Path, tmp_path: Path
) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "saved")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    given = ("--checkpoint", tmp_path / "saved", "--prompts", tmp_path / "p.txt")
    generate(repository, *given, "--output", tmp_path / "loop")
    expected = latents(tmp_path / "loop")
    assert len(expected) == len(PROMPTS)
    ray = ("--output", tmp_path / "ray", "--executor", "ray", "--workers", "2")
    told = generate(repository, *given, *ray)
    assert latents(tmp_path / "ray") == expected
    assert "6 clips, 0 failed" in told
    for name in ("00001-0", "00004-0"):  # a stop in the middle of two batches
        (tmp_path / "ray" / f"{name}.json").unlink()
    generate(repository, *given, *ray)
    assert latents(tmp_path / "ray") == expected
    same = [(tmp_path / each / "manifest.csv").read_text() for each in ("loop", "ray")]
    assert same[0] == same[1]
