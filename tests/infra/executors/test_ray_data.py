"""Under Ray Data: the loop's set in either form, whatever is killed; wrong weights are one line."""

import importlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from infra.executors.local_cluster import cluster_beside_imports
from infra.executors.ray_data import RayExecutor, fit_pools
from preprocessing.config import PrecomputeConfig
from preprocessing.job import precompute
from preprocessing.worker import Decoder, Encoder, ShardWorker
from syncflow.config import dump_config
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from tests.precompute_case import content, job, write_media, write_weights

pytestmark = pytest.mark.ray
GOOD = 12


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    write_media(folder / "clips", good=GOOD)
    write_weights(folder / "weights")
    return folder


def config(case: Path, name: str, **changes: object) -> PrecomputeConfig:
    return job(case / "clips", case / "weights", case / name, **changes)


@pytest.fixture(scope="module")
def unbroken(case: Path) -> dict[str, str]:
    precompute(config(case, "loop"))
    return content(case / "loop")


def test_three_pools_give_what_the_loop_gives_though_a_worker_is_killed(
    case: Path, ray_of_two: None, unbroken: dict[str, str]
) -> None:
    settings = config(case, "split", stages="split", clips_per_shard=1)
    found: list[int] = []
    killer = threading.Thread(target=lambda: found.append(kill_a_worker(case / "split")))
    killer.start()
    assert precompute(settings, execute=RayExecutor(settings)) == 0
    killer.join()
    assert 0 < found[0] < len(unbroken), "a worker was to be killed on the way"
    assert content(case / "split") == unbroken
    assert len(LatentDataset(case / "split")) == 2 * GOOD


def test_ray_starts_beside_the_jobs_imports_and_a_failed_one_is_left_to_the_job(
    tmp_path: Path, ray_of_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "job_that_imports.py").write_text("made = 1\n")
    (tmp_path / "job_that_fails.py").write_text("raise ValueError('of the job')\n")
    with cluster_beside_imports("job_that_imports"):
        assert "job_that_imports" in sys.modules
    with cluster_beside_imports("job_that_fails"), pytest.raises(ValueError, match="of the job"):
        importlib.import_module("job_that_fails")


def test_a_killed_driver_loses_and_doubles_nothing(
    case: Path, ray_of_two: None, unbroken: dict[str, str], repository: Path
) -> None:
    import ray

    settings = config(case, "killed", executor="ray", clips_per_shard=1)
    dump_config(settings, case / "killed.yaml")
    driver = subprocess.Popen(
        [sys.executable, "pipelines/precompute_latents.py", "--config", str(case / "killed.yaml")],
        cwd=repository,
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_a_commit(case / "killed")
    finally:
        driver.kill()
        driver.wait()
    assert 0 < len(content(case / "killed")) < len(unbroken), "the driver was to be killed on the way"
    assert precompute(config(case, "killed", clips_per_shard=1)) == 0
    assert content(case / "killed") == unbroken
    assert len(LatentDataset(case / "killed")) == 2 * GOOD


def wait_for_a_commit(output: Path) -> None:
    deadline = time.monotonic() + 120
    while not list((output / "ledger").glob("*.parquet")):
        assert time.monotonic() < deadline, "nothing was committed"
        time.sleep(0.005)


def kill_a_worker(output: Path) -> int:
    """Kill one of Ray's workers as soon as something is committed; the clips that were."""
    wait_for_a_commit(output)
    workers = [p for p in psutil.Process().children(recursive=True) if "MapWorker" in title_of(p)]
    workers[0].kill()
    return len(content(output))


def title_of(process: psutil.Process) -> str:
    """What `ps` shows of a process; empty for one that has just ended."""
    try:
        return "".join(process.cmdline())
    except psutil.Error:
        return ""


def test_worker_with_other_weights_is_refused_in_one_line(case: Path, ray_of_two: None) -> None:
    settings = config(case, "other")
    executor = RayExecutor(settings)

    def change_weights(work, groups):
        write_weights(case / "weights", seed=1)
        return executor(work, groups)

    try:
        with pytest.raises(UserError, match="this worker's weights and decoder give recipe"):
            precompute(settings, execute=change_weights)
    finally:
        write_weights(case / "weights")


def test_pools_that_can_never_start_are_refused_and_a_gpu_takes_no_more_cpus_than_there_are() -> None:
    with pytest.raises(UserError, match=r"stages split: .* 2 CPU, Ray offers 1"):
        fit_pools("split", "cpu", {"CPU": 1.0}, may_grow=False)
    growing = fit_pools("split", "cuda", {"CPU": 4.0}, may_grow=True)
    assert growing[Decoder]["num_cpus"] == 1 and growing[Encoder]["num_gpus"] == 1
    assert fit_pools("fused", "cuda", {"CPU": 2.0, "GPU": 1.0}, may_grow=False)[ShardWorker]["num_cpus"] == 2
