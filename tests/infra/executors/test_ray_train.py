"""Ray Train as a way to call a function in several processes."""

import sys
from pathlib import Path

import pytest

from infra.executors.ray_train import run_workers
from syncflow.errors import UserError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_of_two")]


def writes_the_sum_of_ranks(folder: Path) -> None:
    import torch
    import torch.distributed as dist

    total = torch.tensor(float(dist.get_rank() + 1))
    dist.all_reduce(total)
    (folder / f"rank_{dist.get_rank()}").write_text(f"{total:.0f} of {dist.get_world_size()}")


def dies_once(folder: Path) -> None:
    import os
    import time

    import torch.distributed as dist

    mark = folder / f"died_{dist.get_rank()}"
    if dist.get_rank() == 1 and not mark.exists():
        mark.touch()
        time.sleep(5)  # Ray retries a worker's death only once its group has started
        os._exit(9)
    writes_the_sum_of_ranks(folder)


def refuses(folder: Path) -> None:
    with (folder / "calls").open("a") as stream:
        stream.write("x")
    raise UserError("data /nowhere: no such folder; run precompute_latents.py")


def importable(function):
    """Workers import this module by name; under pytest it has none that they could find."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
    return function


def actors_so_far() -> set[str]:
    """Classes of all actors that the tests' Ray has had, each in a process of its own."""
    from ray._private.state import actors

    return {actor["ActorClassName"] for actor in actors().values()}


def test_fewer_workers_start_where_fewer_fit(tmp_path: Path) -> None:
    """Two CPUs hold one of two workers that take two each."""
    run_workers(
        importable(writes_the_sum_of_ranks),
        tmp_path,
        workers=2,
        min_workers=1,
        cpus_per_worker=2,
        storage=tmp_path / "ray",
    )
    assert [p.read_text() for p in tmp_path.glob("rank_*")] == ["1 of 1"]
    spare = {"DatasetManager", "PlacementGroupCleaner", "PreemptionWatcher"}
    assert "TrainController" in actors_so_far() and not actors_so_far() & spare


def test_a_killed_worker_is_started_again_and_every_worker_takes_part(tmp_path: Path) -> None:
    run_workers(importable(dies_once), tmp_path, workers=2, storage=tmp_path / "ray", max_failures=1)
    assert (tmp_path / "died_1").exists()
    sums = {path.name: path.read_text() for path in tmp_path.glob("rank_*")}
    assert sums == {"rank_0": "3 of 2", "rank_1": "3 of 2"}
    assert not (tmp_path / "ray").exists()


def test_a_user_error_comes_out_as_one_and_is_not_retried(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data /nowhere: no such folder"):
        run_workers(importable(refuses), tmp_path, workers=1, storage=tmp_path / "ray", max_failures=3)
    assert (tmp_path / "calls").read_text() == "x"
