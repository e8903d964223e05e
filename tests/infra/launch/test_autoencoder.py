"""`pipelines/train_autoencoder.py` as a user calls it: Ray workers, weights, figures of held-out clips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae
from syncflow.config import dump_config
from tests.autoencoder_case import small_config, write_clips

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def call(preset: Path, *flags: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "pipelines/train_autoencoder.py", "--config", str(preset), *flags],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_two_workers_train_save_and_measure(repository: Path, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips")
    config = small_config(
        "audio",
        clips=clips,
        output=tmp_path / "vae",
        workers=2,
        adversarial={"enabled": True, "from_step": 3},
    )
    dump_config(config, tmp_path / "preset.yaml")
    done = call(tmp_path / "preset.yaml", root=repository)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    figures = json.loads((config.output / "reconstruction.json").read_text())
    assert figures["windows"] == 3 and figures["onsets"] > 0
    assert load_vae(AudioVAE, config.output).latent_dim == 4
    assert (config.output / "resolved.yaml").is_file() and "6/6" in done.stdout


def test_missing_clips_are_one_line(repository: Path, tmp_path: Path) -> None:
    dump_config(
        small_config("video", clips=tmp_path / "nowhere", output=tmp_path / "vae"), tmp_path / "preset.yaml"
    )
    done = call(tmp_path / "preset.yaml", root=repository)
    assert done.returncode != 0 and "no such folder" in done.stderr
    assert "make_demo_clips.py makes a folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").exists()
