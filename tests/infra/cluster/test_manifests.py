"""Manifests hold what KubeRay's schema asks for, and what keeps a cluster safe."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.cluster.config import ClusterConfig
from infra.cluster.rayjob import STEPS, ray_job, write_jobs

CLUSTER = Path("infra/cluster")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def rayjob_schema(repository: Path) -> dict[str, Any]:
    """KubeRay's own, with fields that it does not know refused."""
    path = repository.parent / "shared" / "data" / "kuberay" / "ray.io_rayjobs.yaml.gz"
    if not path.is_file():
        path = repository.parents[1] / "shared" / "data" / "kuberay" / "ray.io_rayjobs.yaml.gz"
    if not path.is_file():
        pytest.skip("../shared/data/kuberay is not there: no schema to validate against")
    with gzip.open(path) as stream:
        found = yaml.load(stream, LOADER)
    version = next(v for v in found["spec"]["versions"] if v["name"] == "v1")
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema: Any) -> Any:
    """`schema` with unknown fields refused where it lists the known ones, and Kubernetes' own types."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


def documents(path: Path) -> list[dict[str, Any]]:
    return [part for part in yaml.load_all(path.read_text(), LOADER) if part]


@pytest.mark.parametrize("step", STEPS)
def test_a_job_fits_the_schema_of_kuberay(step, repository: Path) -> None:
    jsonschema.validate(ray_job(step, ClusterConfig()), rayjob_schema(repository))


def test_the_schema_finds_what_is_misspelt(repository: Path) -> None:
    job = ray_job("video", ClusterConfig())
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(jsonschema.ValidationError, match="rayStartParam"):
        jsonschema.validate(job, rayjob_schema(repository))


@pytest.mark.parametrize("step", STEPS)
def test_the_committed_jobs_are_those_of_the_defaults(step, repository: Path, tmp_path: Path) -> None:
    write_jobs(ClusterConfig(output=tmp_path))
    assert (repository / CLUSTER / "rayjobs" / f"{step}.yaml").read_text() == (
        tmp_path / f"{step}.yaml"
    ).read_text()


@pytest.mark.parametrize("step", STEPS)
def test_a_job_asks_for_tokens_and_its_head_takes_no_work(step) -> None:
    spec = ray_job(step, ClusterConfig())["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert {group["groupName"] for group in spec["workerGroupSpecs"]} == {"cpu", "gpu"}


def test_gpu_pods_give_each_training_worker_a_gpu() -> None:
    config = ClusterConfig(gpus=20, gpus_per_node=8)
    group = ray_job("joint", config)["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert group["replicas"] * int(limits["nvidia.com/gpu"]) >= 20 and group["replicas"] == 3
    assert "--workers 20" in ray_job("joint", config)["spec"]["entrypoint"]


def test_the_flags_of_a_job_are_those_of_its_pipeline(repository: Path) -> None:
    from preprocessing.config import PrecomputeConfig
    from syncflow.command_line import parse_arguments
    from syncflow.training.config import TrainConfig

    for step in STEPS:
        words = ray_job(step, ClusterConfig())["spec"]["entrypoint"].split()
        assert (repository / Path(words[1]).relative_to("/opt/syncflow")).is_file()
        arguments = [word.replace("/opt/syncflow", str(repository)) for word in words[2:]]
        parse_arguments(
            PrecomputeConfig if step == "precompute" else TrainConfig, description="", argv=arguments
        )


def test_mlflow_is_reached_within_the_cluster_only_by_names_that_it_allows(repository: Path) -> None:
    parts = {part["kind"]: part for part in documents(repository / CLUSTER / "mlflow.yaml")}
    assert parts["Service"]["spec"]["type"] == "ClusterIP" and "NetworkPolicy" in parts
    container = parts["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    allowed = next(a for a in container["args"] if a.startswith("--allowed-hosts=")).split("=")[1].split(",")
    assert ClusterConfig().tracking_uri.removeprefix("http://") in allowed and "*" not in allowed
