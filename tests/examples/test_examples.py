"""The examples run as they stand, each in a process of its own module namespace, and do what they say."""

import json
import math
import runpy
from pathlib import Path
from typing import Any

import pytest

from syncflow.media import probe

pytestmark = pytest.mark.slow  # four pipelines loaded and run: about 15 s of a core


def script(repository: Path, name: str) -> dict[str, Any]:
    return runpy.run_path(str(repository / "examples" / f"{name}.py"))


def test_text_to_clip_writes_a_clip_with_audio(repository: Path, tmp_path: Path) -> None:
    path = script(repository, "text_to_clip")["main"](output=str(tmp_path))
    info = probe(path)
    assert info.has_video and info.has_audio and len(info.frame_times_s) == 32


def test_video_to_sound_is_in_time(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(repository, "video_to_audio")["main"](output=str(tmp_path))
    assert float(capsys.readouterr().out.rsplit("sync F1 ", 1)[1]) > 0.5


def test_training_steps_lower_the_loss(repository: Path) -> None:
    losses = script(repository, "training_step")["main"]()
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]


def test_every_cell_of_the_notebook_runs(repository: Path) -> None:
    notebook = json.loads((repository / "examples" / "first_clip.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not [cell for cell in cells if cell["outputs"]], "a notebook is stored without its outputs"
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), "first_clip.ipynb", "exec"), names)
    assert names["again"].audio.shape == names["clip"].audio.shape
