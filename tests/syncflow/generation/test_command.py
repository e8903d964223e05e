"""`pipelines/generate.py` as it is typed: what cannot be met is one line and exit status 2."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from syncflow.checkpoint import CheckpointManifest
from syncflow.media import write_clip
from syncflow.records import ClipSpec, Weights

FLAGS = ("--clip.seconds", "0.5", "--clip.height", "32", "--clip.width", "32", "--solver.steps", "2")


def generate(monkeypatch: pytest.MonkeyPatch, repository: Path, *arguments: object) -> int:
    script = repository / "pipelines" / "generate.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--device", "cpu", *FLAGS, *(str(a) for a in arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    return int(stop.value.code or 0)


CASES = [
    (("--prompt", ""), "row 0: prompt 0: empty"),
    (("--prompt", "x" * 10_000), "10000 characters"),
    (("--prompt", "wood", "--clip.height", "100", "--clip.width", "30"), "nearest valid size is 96 x 32"),
    (("--prompt", "wood", "--solver.steps", "0"), "greater than or equal to 1"),
    (("--prompt", "wood", "--clip.seconds", "0"), "num_frames: got 0"),
    (("--prompt", "wood", "--best-of", "0"), "greater than or equal to 1"),
    (("--prompt", "wood", "--best-of", "2", "--modalities", "video"), "needs video and audio"),
    (("--prompt", "wood", "--offload"), "offload: is for a GPU"),
    (("--prompt", "wood", "--checkpoint", "no/where/at/all"), "no such folder"),
    (("--prompt", "wood", "--checkpoint", "nobody/nothing"), "the hub does not give it"),
    (("--video", "{folder}/empty.mp4"), "empty"),
    (("--video", "{folder}/words.mp4"), "words.mp4"),
    (("--video", "{folder}/empty.mp4", "--keep-video", "half"), "expected all, none, or spans"),
    (("--video", "{folder}/empty.mp4", "--keep-video", "none"), "none of the given video is kept"),
    (("--prompt", "wood", "--checkpoint", "{folder}/video"), "its audio tower is not trained"),
    (("--reproduce", "{folder}/words.mp4"), "cannot be read as a sidecar"),
]


@pytest.mark.parametrize(("arguments", "message"), CASES)
def test_a_request_that_cannot_be_met_is_one_line_and_status_2(
    arguments: tuple[str, ...],
    message: str,
    saved: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_text("not a film")
    (tmp_path / "video").mkdir()
    part = Weights(sha256="0" * 64, location="")
    CheckpointManifest(
        stage="video",
        step=1,
        weights="raw",
        averaged=1,
        parts={},
        model_sha256="0" * 64,
        model_config_sha256="0" * 64,
        spec=ClipSpec(),
        dataset=tmp_path,
        dataset_fingerprint="",
        video_vae=part,
        audio_vae=part,
        text_encoder=part,
        dataset_config={"encode": {}},
        initialised_from="",
    ).write(tmp_path / "video")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    status = generate(monkeypatch, repository, "--checkpoint", saved, "--output", tmp_path / "out", *given)
    error = capsys.readouterr().err.strip()
    assert status == 2
    assert error.startswith("error: ") and "\n" not in error and message in error
    assert not (tmp_path / "out").exists()


def test_prompts_become_a_folder_of_clips(
    saved: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "out"
    given = ("--checkpoint", saved, "--output", out, "--prompt", "wood", "--best-of", "2", "--no-strip")
    assert generate(monkeypatch, repository, *given) == 0
    assert {path.name for path in out.iterdir()} == {
        *("00000-0.mp4", "00000-0.json", "manifest.csv", "resolved.yaml")
    }
    assert "1 clips, 0 failed" in capsys.readouterr().out
    sidecar = json.loads((out / "00000-0.json").read_text())
    assert sidecar["settings"]["seed"] == 0 and len(sidecar["scores"]) == 2
    again = ("--reproduce", out / "00000-0.json", "--output", tmp_path / "again")
    assert generate(monkeypatch, repository, *again) == 0
    assert "the same latents, bit for bit" in capsys.readouterr().out


def test_the_name_of_a_video_is_one_line_whatever_it_holds(
    saved: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    frames, audio = np.zeros((16, 32, 32, 3), np.uint8), np.zeros(48_000, np.float32)
    write_clip(videos / "long\none.mp4", frames=frames, audio=audio, fps=16, sample_rate=48_000)
    (videos / "broken\none.mp4").write_text("not a film")
    given = ("--checkpoint", saved, "--video", videos, "--output", tmp_path / "out", "--no-strip")
    assert generate(monkeypatch, repository, *given) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("note: ") and "long\\u000aone.mp4 is 1.00 s" in line]
    assert [line for line in lines if line.startswith("failed: ") and "broken\\u000aone.mp4: " in line]
