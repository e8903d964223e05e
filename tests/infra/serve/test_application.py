"""The application on a real Ray of this machine: front, replicas and HTTP in processes of their own."""

import json
import os
import signal
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest

from infra.serve.run import serving
from syncflow.config import validate
from syncflow.media import probe
from syncflow.serving.client import Client
from syncflow.serving.config import ServerConfig


def replicas() -> list[int]:
    """Processes of this one's Ray that hold the weights."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("ServeReplica:syncflow:replica" in word for word in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


@pytest.mark.ray
@pytest.mark.timeout(600)  # on a loaded machine four processes import for minutes
def test_a_killed_replica_costs_no_job_and_each_clip_is_handed_out_once(tmp_path: Path) -> None:
    generate = {"checkpoint": "tiny", "output": tmp_path, "device": "cpu", "solver": {"steps": 4}}
    generate |= {"clip": {"seconds": 1.0, "height": 64, "width": 64}, "clean_video": True}
    values = {"folder": tmp_path, "generate": generate, "replicas": {"least": 2, "most": 2}, "port": 0}
    config = validate(ServerConfig, {**values, "limits": {"batch": 2}, "close_s": 5}, source="test")
    with serving(config, log_to_driver=False) as url:
        client = Client(url, token="", timeout_s=120)
        jobs = [client.submit(prompt=f"metal {n}", seed=n) for n in range(10)]
        while not any(job["state"] == "running" and job["share"] > 0 for job in client.latest(10)):
            time.sleep(0.05)
        os.kill(replicas()[0], signal.SIGKILL)
        done = [client.wait(job) for job in jobs]
        folders = [tmp_path / "jobs" / job["id"] for job in done]
        made = Counter(
            json.loads((folder / "00000-0.json").read_text())["batch"][0]["seed"] for folder in folders
        )
        assert made == Counter(range(10)) and len(set(folders)) == 10
        assert probe(client.download(done[9], "clip.mp4", tmp_path / "9.mp4")).width == 64
        long = client.submit(prompt="metal", steps=100)
        while client.status(long)["share"] == 0:
            time.sleep(0.05)
        assert client.cancel(long)["state"] == "cancelled"
        assert client.wait(client.submit(prompt="metal", steps=1))["state"] == "done"
        with urllib.request.urlopen(f"{url}metrics") as answer:
            counted = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines())
        assert counted['syncflow_jobs_total{state="done"}'] == "11.0"
        assert counted['syncflow_jobs_total{state="cancelled"}'] == "1.0"
        assert 12 <= float(counted["syncflow_batch_clips_sum"]) <= 12 + 2, "one batch is made again at most"
        with urllib.request.urlopen(f"{url}health") as answer:
            assert json.load(answer) == {"status": "ok"}
    assert not replicas()
