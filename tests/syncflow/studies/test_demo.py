"""The demo is the commands of a large run, with the tiny preset."""

import subprocess
import sys
from pathlib import Path

import pytest

from syncflow.errors import UserError
from syncflow.studies.demo import Part, demo_parts, run_parts
from syncflow.studies.demo_config import DemoConfig

PARTS = demo_parts(DemoConfig(audio_steps=3))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_flag_of_a_part_is_one_of_its_pipeline(part: Part, repository: Path) -> None:
    command = [sys.executable, *part.command[1:], "--no-such-flag"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert done.returncode == 2
    assert "--no-such-flag" in done.stderr, done.stderr  # the first one that is not known


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_differs_from_a_large_run_by_its_preset(part: Part, repository: Path) -> None:
    if "--config" not in part.arguments:
        return
    preset = repository / part.arguments[part.arguments.index("--config") + 1]
    assert preset.is_file()
    if part.pipeline != "make_demo_clips.py":
        assert (preset.parent.parent / "vggsound" / preset.name).is_file()
        assert (preset.parent.parent / "greatest_hits" / preset.name).is_file()


def test_a_part_that_fails_ends_the_demo_and_is_named() -> None:
    wrong = Part(name="latents", pipeline="precompute_latents.py", arguments=("--no-such-flag",))
    with pytest.raises(UserError, match="'latents' ended with status 2"):
        run_parts([wrong])
