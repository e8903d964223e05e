"""SIGTERM and Ctrl-C: the running step ends, a state is saved, one line says so, and the exit status fits."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from infra.executors.supervisor import Interrupted, raise_if_stopped, stopping
from infra.tracking.runs import Note, client
from syncflow.config import dump_config, validate
from syncflow.data.random_dataset import write_dataset
from syncflow.training.resume import latest_state
from syncflow.training.stage.config import TrainConfig
from tests.autoencoder_case import small_config, write_clips
from tests.infra.signal_case import signal_when, start
from tests.syncflow.training.small import SMALL

CASE = "tests/infra/signal_case.py"
STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGHUP: 0}


@pytest.mark.parametrize(("kind", "group"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_stage_ends_after_the_running_step_and_goes_on(tmp_path: Path, kind, group: bool) -> None:
    values = SMALL | {"stage": "video", "data": write_dataset(tmp_path / "latents"), "steps": 100_000}
    values |= {"output": tmp_path / "run", "checkpoint": {"every": 50_000, "keep": 1}}
    config = validate(TrainConfig, values, source="test")
    dump_config(config, tmp_path / "preset.yaml")
    command = (CASE, "stage", str(tmp_path / "preset.yaml"))
    job = start(*command)
    printed = signal_when(job, shown="1/100000", kind=kind, group=group)
    state = latest_state(config.folder / "engine")
    assert job.returncode == STATUS[kind], printed
    assert state is not None and 1 <= state.step < 100_000 and "Traceback" not in printed
    assert f"{kind.name}: ending after the running step" in printed
    assert printed.splitlines()[-1] == f"stopped; the same command goes on from {state.folder}"
    assert not (config.folder / "checkpoint").exists() and not (config.folder / "writer.lock").exists()
    if not group:
        return
    dump_config(config.model_copy(update={"steps": state.step + 1}), tmp_path / "preset.yaml")
    again = start(*command)
    assert f"going on from step {state.step}" in again.communicate(timeout=600)[0] and again.returncode == 0


@pytest.mark.parametrize("kind", STATUS)
def test_a_signal_before_the_first_step_is_one_line(tmp_path: Path, kind: signal.Signals) -> None:
    job = start(CASE, "sleep", str(tmp_path / "pid"))
    printed = signal_when(job, shown="asleep", kind=kind, group=True)
    told = "SIGINT" if kind == signal.SIGINT else "SIGTERM"
    assert job.returncode == STATUS[kind]
    assert printed == f"asleep\n{told}: ended; the same command goes on\n"


def test_a_job_that_is_killed_is_named() -> None:
    job = start(CASE, "die", "-")
    printed = job.communicate(timeout=100)[0]
    assert job.returncode == 137 and "was ended by SIGKILL; the same command goes on" in printed


def test_a_job_ends_with_its_supervisor(tmp_path: Path) -> None:
    job = start(CASE, "sleep", str(tmp_path / "pid"))
    signal_when(job, shown="asleep", kind=signal.SIGKILL, group=False)
    child = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the job outlived its supervisor")


def test_the_first_signal_says_how_the_job_ends(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    raise_if_stopped(stop, "nothing")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        with stopping(stop):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(Interrupted, match="so far") as caught:
        raise_if_stopped(stop, "so far")
    assert caught.value.status == 130


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "whom"), [(signal.SIGTERM, "group"), (signal.SIGINT, "driver"), (signal.SIGTERM, "worker")]
)
def test_under_ray_too(tmp_path: Path, kind: signal.Signals, whom: str) -> None:
    """As a scheduler, a terminal and a lost machine do it to `train_stage.py`, with two workers."""
    values = SMALL | {"stage": "video", "data": write_dataset(tmp_path / "latents"), "steps": 100_000}
    values |= {"output": tmp_path / "run", "checkpoint": {"every": 50_000, "keep": 1}, "workers": 2}
    config = validate(TrainConfig, values, source="test")
    dump_config(config, tmp_path / "preset.yaml")
    job = start("pipelines/train_stage.py", "--config", str(tmp_path / "preset.yaml"))
    pick = worker_of if whom == "worker" else None
    printed = signal_when(job, shown="1/100000", kind=kind, group=whom == "group", pick=pick)
    state = latest_state(config.folder / "engine")
    assert job.returncode == STATUS[kind], printed
    assert state is not None and 1 <= state.step < 100_000
    assert "Traceback" not in printed, printed
    assert printed.splitlines()[-1] == f"stopped; the same command goes on from {state.folder}"


@pytest.mark.ray
@pytest.mark.slow
def test_an_autoencoder_under_ray_too(tmp_path: Path) -> None:
    """As a terminal does it to `train_autoencoder.py`; its run says so."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = small_config(
        "audio",
        clips=write_clips(tmp_path / "clips"),
        output=tmp_path / "vae",
        steps=100_000,
        checkpoint_every=50_000,
        optimizer={"decay": "none"},
        tracking_uri=uri,
    )
    dump_config(config, tmp_path / "preset.yaml")
    job = start("pipelines/train_autoencoder.py", "--config", str(tmp_path / "preset.yaml"))
    printed = signal_when(job, shown="1/100000", kind=signal.SIGINT, group=True)
    state = latest_state(config.output / "engine")
    assert job.returncode == 130, printed
    assert state is not None and 1 <= state.step < 100_000
    assert printed.splitlines()[-1] == f"stopped; the same command goes on from {state.folder}"
    assert not (config.output / "diffusion_pytorch_model.safetensors").exists()
    assert not list(config.output.glob("*.lock"))
    note = Note.read(config.output)
    assert note is not None and client(uri).get_run(note.run_id).info.status == "KILLED"


def worker_of(job: int) -> int:
    """A process that trains, somewhere below the driver."""
    below = psutil.Process(job).children(recursive=True)
    return next(process.pid for process in below if "RayTrainWorker" in " ".join(process.cmdline()))
