"""docs/data.md's cluster recipe: a head with token authentication, and a job from the working directory."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.infra.ray_head import RAY
from tests.precompute_case import content, settings, write_media, write_weights

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


def submit(head: dict[str, str], repository: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit`, again until the head's agent has registered."""
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(
            [str(RAY), "job", "submit", "--working-dir", ".", "--", *command],
            cwd=repository,
            env=head,
            capture_output=True,
            text=True,
            timeout=300,
        )
        text = done.stdout + done.stderr
        early = any(
            word in text
            for word in (
                "No available agent",
                "Failed to connect",
                "Connection refused",
                "Server disconnected",
            )
        )
        if not early or time.monotonic() > deadline:
            return done
        time.sleep(2)


def test_precompute_runs_as_a_ray_job(head: dict[str, str], repository: Path, tmp_path: Path) -> None:
    write_media(tmp_path / "clips", good=2)
    write_weights(tmp_path / "weights")
    values = settings(tmp_path / "clips", tmp_path / "weights", tmp_path / "out", executor="ray", workers=1)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(values))
    command = f"{sys.executable} pipelines/precompute_latents.py --config {tmp_path / 'job.yaml'}"
    refused = f"! {command} --output out/relative"  # in the same job: a job of its own takes as long again
    done = submit(head, repository, "sh", "-ec", f"{refused}; {command}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--output out/relative: relative, and a Ray job runs in a copy" in done.stdout + done.stderr
    assert len(content(tmp_path / "out")) == 4
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_a_client_without_the_token_is_turned_away(head: dict[str, str]) -> None:
    jobs = f"{head['RAY_API_SERVER_ADDRESS']}/api/jobs/"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(jobs, timeout=30)
    token = Path(head["RAY_AUTH_TOKEN_PATH"]).read_text()
    allowed = urllib.request.Request(jobs, headers={"Authorization": f"Bearer {token}"})
    assert urllib.request.urlopen(allowed, timeout=30).status == 200
