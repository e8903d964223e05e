"""Precompute under Ray Data: in either form the same set as the loop's, and a wrong worker is one line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local_cluster import cluster
from infra.ray_data import RayExecutor, fit_pools
from preprocessing.config import PrecomputeConfig
from preprocessing.job import precompute
from preprocessing.worker import Decoder, Encoder, ShardWorker
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from tests.precompute_case import content, job, write_media, write_weights

pytestmark = pytest.mark.ray
GOOD = 6


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    write_media(folder / "clips", good=GOOD)
    write_weights(folder / "weights")
    return folder


@pytest.fixture(scope="module")
def ray_of_two() -> Iterator[None]:
    with cluster(num_cpus=2, log_to_driver=False):
        yield


def config(case: Path, name: str, **changes: object) -> PrecomputeConfig:
    return job(case / "clips", case / "weights", case / name, **changes)


@pytest.fixture(scope="module")
def unbroken(case: Path) -> dict[str, str]:
    precompute(config(case, "loop"))
    return content(case / "loop")


@pytest.mark.parametrize("stages", ["fused", "split"])
def test_ray_gives_the_same_clips_and_latents_as_the_loop(
    case: Path, ray_of_two: None, unbroken: dict[str, str], stages: str
) -> None:
    settings = config(case, stages, stages=stages, clips_per_shard=3)
    assert precompute(settings, execute=RayExecutor(settings)) == 0
    assert content(case / stages) == unbroken
    assert len(LatentDataset(case / stages)) == 2 * GOOD


def test_worker_with_other_weights_is_refused_in_one_line(case: Path, ray_of_two: None) -> None:
    settings = config(case, "other")
    executor = RayExecutor(settings)

    def change_weights(work, groups):
        write_weights(case / "weights", seed=1)
        return executor(work, groups)

    try:
        with pytest.raises(UserError, match="this worker's weights give recipe"):
            precompute(settings, execute=change_weights)
    finally:
        write_weights(case / "weights")


def test_pools_that_can_never_start_are_refused_and_a_gpu_takes_no_more_cpus_than_there_are() -> None:
    with pytest.raises(UserError, match=r"stages split: .* 2 CPU, Ray offers 1"):
        fit_pools("split", "cpu", {"CPU": 1.0}, may_grow=False)
    growing = fit_pools("split", "cuda", {"CPU": 4.0}, may_grow=True)
    assert growing[Decoder]["num_cpus"] == 1 and growing[Encoder]["num_gpus"] == 1
    assert fit_pools("fused", "cuda", {"CPU": 2.0, "GPU": 1.0}, may_grow=False)[ShardWorker]["num_cpus"] == 2
