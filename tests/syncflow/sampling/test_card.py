"""A saved pipeline in the ecosystem: its card, the upload, and plain diffusers that loads it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from syncflow import SyncFlowPipeline
from syncflow.errors import UserError
from syncflow.sampling import parts


@pytest.fixture(scope="module")
def pipeline() -> SyncFlowPipeline:
    return SyncFlowPipeline.from_pretrained("tiny")


@pytest.fixture(scope="module")
def saved(pipeline: SyncFlowPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    pipeline.save_pretrained(folder, licence="apache-2.0")
    return folder


def test_the_card_says_what_it_is_and_a_written_one_stays(pipeline: SyncFlowPipeline, saved: Path) -> None:
    text = (saved / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert metadata["license"] == "apache-2.0" and metadata["library_name"] == "diffusers"
    size = sum(parameter.numel() for parameter in pipeline.dual_dit.parameters())
    for said in (
        "2 s from text, 64 x 64 pixels at 16 frames",
        f"| `dual_dit` | {size:,} |",
        "clean_video=True",
    ):
        assert said in body
    assert str(saved) not in text and os.path.expanduser("~") not in text  # noqa: PTH111
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    (saved / "README.md").write_text("my own card")
    pipeline.save_pretrained(saved)
    assert (saved / "README.md").read_text() == "my own card"
    (saved / "README.md").write_text(text)


def test_an_upload_is_one_commit_of_all_files_with_the_card(
    pipeline: SyncFlowPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict]] = []

    def create(repo_id: str, **settings: object) -> SimpleNamespace:
        calls.append(("create", {"repo_id": repo_id} | settings))
        return SimpleNamespace(repo_id=f"someone/{repo_id}")

    def upload(**settings: object) -> str:
        folder = Path(str(settings["folder_path"]))
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        card = (folder / "README.md").read_text()
        calls.append(("upload", settings | {"files": files, "card": card}))
        return "https://hub/commit/1"

    monkeypatch.setattr(parts, "create_repo", create)
    monkeypatch.setattr(parts, "upload_folder", upload)
    assert (
        pipeline.push_to_hub("tiny", licence="cc-by-4.0", private=True, token="t") == "https://hub/commit/1"
    )
    (_, made), (_, sent) = calls
    assert made == {"repo_id": "tiny", "private": True, "token": "t", "exist_ok": True}
    assert sent["repo_id"] == "someone/tiny" and sent["token"] == "t"
    assert {"README.md", "pipeline.py", "model_index.json", "dual_dit/config.json"} <= sent["files"]
    assert "license: cc-by-4.0" in sent["card"]
    assert not Path(sent["folder_path"]).exists()
    with pytest.raises(UserError, match=r"call pipeline\.push_to_hub"):
        pipeline.save_pretrained("nowhere", push_to_hub=True)


PLAIN = """
import sys
import torch
from diffusers import DiffusionPipeline
folder = sys.argv[1]
pipeline = DiffusionPipeline.from_pretrained(
    folder, custom_pipeline=f"{folder}/pipeline.py", trust_remote_code=True, low_cpu_mem_usage=False
)
clip = pipeline("a drumstick hits wood", seed=0, num_inference_steps=1, output_type="latent")
print(type(pipeline).__name__, tuple(clip.frames.shape), tuple(clip.audio.shape))
"""


def test_plain_diffusers_loads_a_foreign_folder_by_its_class_file(saved: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(saved)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[-2] == "SyncFlowPipeline (1, 8, 8, 8, 8) (1, 100, 32)"
