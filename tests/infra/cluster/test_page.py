"""docs/cluster.md's own commands, run on a Ray cluster of this machine with token authentication."""

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.cluster.config import ClusterConfig
from infra.cluster.steps import steps
from syncflow.checkpoint import CheckpointManifest
from syncflow.config import load_config
from syncflow.data.parquet import DatasetManifest
from tests.infra.cluster.small_cluster import write_values

LIMIT_S = 1500  # a busy machine is slow, not wrong; with one of two cores to itself it takes under 240


def commands(repository: Path) -> list[str]:
    """The page's blocks of bash, in order."""
    page = (repository / "docs" / "cluster.md").read_text(encoding="utf-8")
    return re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)


def test_the_pages_table_names_every_step_in_order(repository: Path) -> None:
    page = (repository / "docs" / "cluster.md").read_text(encoding="utf-8")
    config = load_config(ClusterConfig, repository / "infra" / "cluster" / "values.yaml")
    written = [step for step in steps(config) if not step.file.startswith("weights/")]
    rows = re.findall(r"^\| `(\w+/\d\d-\w+)` \|.*\| (\d*) ?\|$", page, flags=re.MULTILINE)
    assert rows == [(step.file.removesuffix(".yaml"), str(step.gpus or "")) for step in written]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
def test_the_pages_commands_go_from_raw_files_to_a_comparison(
    head: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    for name in ("pipelines", "infra"):
        (tmp_path / name).symlink_to(repository / name)
    write_values(tmp_path, repository=repository, python=sys.executable)
    stand_in = tmp_path / "bin" / "kubectl"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("kubectl.py")} "$@"\n')
    stand_in.chmod(0o755)
    first, values, weights, vggsound, greatest_hits = commands(repository)
    wait_for_vae = (
        "until [ -f data/vggsound/audio_vae/reconstruction.json ]; do kill -0 $first; sleep 0.5; done\n"
    )
    script = f"set -e\n{first}{values}{weights}\n"
    # the two datasets at the same time, as the page allows
    script += f"( set -e\n{vggsound}) & first=$!\n( set -e\n{wait_for_vae}{greatest_hits}) & second=$!\n"
    script += "wait $first; wait $second\n"
    environment = {
        **head,
        "PATH": f"{stand_in.parent}:{Path(sys.executable).parent}:{head['PATH']}",
        "PYTHONPATH": str(repository),
        "DS_ACCELERATOR": "cpu",
    }
    status = run(script, folder=tmp_path, environment=environment)
    assert status == 0, (tmp_path / "page.log").read_text()[-12_000:]
    check(tmp_path / "data")


def run(script: str, *, folder: Path, environment: dict[str, str]) -> int:
    """The exit status; what it says goes to page.log. Nothing that it started is left, however it ends."""
    began = time.monotonic()
    with (folder / "page.log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.write(f"{time.monotonic() - began:.0f} s in all\n")


def check(data: Path) -> None:
    """What the last step of each part left, and that each part was made of the one before."""
    for name, clips in (("vggsound", 3), ("greatest_hits", 2)):
        dataset = DatasetManifest.read(data / name / "latents")
        assert dataset.accepted == clips, dataset
        assert dataset.audio_vae.location == str(data / "vggsound" / "audio_vae")
        assert dataset.text_encoder.location == str(data / "weights" / "text_encoder")
        assert (data / name / "comparison" / "comparison.md").is_file()
    audio = CheckpointManifest.read(data / "vggsound" / "runs" / "audio" / "checkpoint")
    joint = CheckpointManifest.read(data / "vggsound" / "runs" / "joint" / "checkpoint")
    assert audio.initialised_from == str(data / "weights" / "video_tower")
    assert joint.initialised_from_sha256 == audio.model_sha256
    systems = {"vggsound": {"audio", "joint"}, "greatest_hits": {"audio_text"}}
    for name, expected in systems.items():
        with (data / name / "scores" / "summary.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["system"] for row in rows} == expected
