"""Generation under Ray Data, with a user's flags: the same clips, bit for bit, as the loop makes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.syncflow.sampling.conftest import tiny_pipeline

pytestmark = pytest.mark.ray
PROMPTS = ("wood is hit", "metal", "cloth, softly", "gravel", "a drum")
SMALL = {"batch-size": 2, "solver.steps": 2, "clip.seconds": 0.5, "clip.height": 32, "clip.width": 32}
FLAGS = [f"--{name}={value}" for name, value in SMALL.items()]


def latents(folder: Path) -> dict[str, dict[str, str]]:
    return {path.name: json.loads(path.read_text())["latents"] for path in folder.glob("*.json")}


def test_clips_do_not_depend_on_the_executor_the_workers_or_a_stop_between(
    ray_of_two: None, run_pipeline: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "saved")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    given = (
        "--checkpoint",
        tmp_path / "saved",
        "--prompts",
        tmp_path / "p.txt",
        "--no-strip",
        "--device=cpu",
        *FLAGS,
    )
    assert run_pipeline("generate.py", *given, "--output", tmp_path / "loop") == 0
    expected = latents(tmp_path / "loop")
    assert len(expected) == len(PROMPTS)
    shutil.copytree(tmp_path / "loop", tmp_path / "ray")
    for path in (tmp_path / "ray").glob("*.json"):
        if path.stem != "00001-0":  # a stop in the middle of the first batch
            path.unlink()
    ray = ("--output", tmp_path / "ray", "--executor", "ray", "--workers", "2")
    assert run_pipeline("generate.py", *given, *ray) == 0
    assert latents(tmp_path / "ray") == expected
    assert "5 clips, 0 failed" in "".join(capsys.readouterr().out.splitlines()[-1:])
    same = [(tmp_path / each / "manifest.csv").read_text() for each in ("loop", "ray")]
    assert same[0] == same[1]
