"""Manifests hold what KubeRay's schema asks for, and what keeps a cluster safe."""

import gzip
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.cluster.config import ClusterConfig, DatasetConfig
from infra.cluster.config import ServiceConfig as ServiceOfCluster
from infra.cluster.rayjob import ray_job
from infra.cluster.rayservice import ray_service, write_service
from infra.cluster.steps import Step, steps
from infra.serve.run import environment
from preprocessing.config import PrecomputeConfig
from preprocessing.sources.list_config import ListConfig
from syncflow.command_line import parse_arguments
from syncflow.config import load_config, validate
from syncflow.conversion.config import ConvertConfig
from syncflow.errors import UserError
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.generation.config import GenerateConfig
from syncflow.job_places import IN_A_JOB
from syncflow.serving.config import ServerConfig
from syncflow.studies.comparison_config import CompareConfig
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.stage.config import TrainConfig

CONFIGS = {
    "convert_weights": ConvertConfig,
    "list_clips": ListConfig,
    "train_autoencoder": AutoencoderTrainConfig,
    "precompute_latents": PrecomputeConfig,
    "train_stage": TrainConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "compare_runs": CompareConfig,
}
CLUSTER = Path("infra/cluster")
STEPS = steps(ClusterConfig())
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def kuberay(repository: Path, kind: str) -> Any:
    """A validator of KubeRay's own schema, with fields that it does not know refused."""
    path = repository.parent / "shared" / "data" / "kuberay" / f"ray.io_{kind}.yaml.gz"
    if not path.is_file():
        path = repository.parents[1] / "shared" / "data" / "kuberay" / f"ray.io_{kind}.yaml.gz"
    if not path.is_file():
        pytest.skip("../shared/data/kuberay is not there: no schema to validate against")
    with gzip.open(path) as stream:
        found = yaml.load(stream, LOADER)
    version = next(v for v in found["spec"]["versions"] if v["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)  # once: it takes a second
    return validator(schema)


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


def step(name: str, config: ClusterConfig | None = None) -> Step:
    return next(each for each in steps(config or ClusterConfig()) if each.name == name)


def documents(path: Path) -> list[dict[str, Any]]:
    return [part for part in yaml.load_all(path.read_text(), LOADER) if part]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_job_fits_the_schema_of_kuberay(step, repository: Path) -> None:
    kuberay(repository, "rayjobs").validate(ray_job(step, ClusterConfig()))


def test_the_schema_finds_what_is_misspelt(repository: Path) -> None:
    job = ray_job(step("vggsound-train-audio"), ClusterConfig())
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(jsonschema.ValidationError, match="rayStartParam"):
        kuberay(repository, "rayjobs").validate(job)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_job_asks_for_tokens_and_its_head_takes_no_work(step) -> None:
    spec = ray_job(step, ClusterConfig())["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert groups.keys() == ({"cpu", "gpu"} if step.gpus else {"cpu"})
    if step.gpus:
        assert groups["gpu"]["minReplicas"] * 8 >= step.gpus, "a GPU preset never starts without its GPUs"


def test_each_dataset_has_its_own_workers_and_gpu_pods_for_all_of_them(repository: Path) -> None:
    config = load_config(ClusterConfig, repository / CLUSTER / "values.yaml", {"vggsound": {"workers": 20}})
    for name, workers, pods in (("vggsound", 20, 3), ("greatest-hits", 8, 1)):
        job = ray_job(step(f"{name}-train-audio", config), config)
        group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert group["replicas"] == pods and pods * int(limits["nvidia.com/gpu"]) >= workers
        assert f"--workers {workers} " in job["spec"]["entrypoint"]


def test_the_flags_of_a_job_are_those_of_its_pipeline_and_all_paths_are_absolute(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IN_A_JOB, "{}")  # relative ones are refused, those of presets too
    for each in STEPS:
        words = shlex.split(ray_job(each, ClusterConfig())["spec"]["entrypoint"])
        pipeline = repository / Path(words[1]).relative_to("/opt/syncflow")
        arguments = [word.replace("/opt/syncflow", str(repository)) for word in words[2:]]
        parse_arguments(CONFIGS[pipeline.stem], description="", argv=arguments)


def test_relative_paths_in_the_values_are_refused() -> None:
    for values, name in (
        ({"vggsound": {"root": "data/vggsound", "index": "/i"}}, r"vggsound.root data/vggsound"),
        ({"vggsound": {"root": "/v", "index": "vggsound.csv"}}, r"vggsound.index vggsound.csv"),
        ({"greatest_hits": {"root": "/g", "audio_vae": "out/vae"}}, r"greatest_hits.audio_vae out/vae"),
    ):
        with pytest.raises(UserError, match=rf"{name}: relative; .* absolute path"):
            validate(ClusterConfig, values, source="values")


def test_stage_1_is_optional_and_stage_2_then_starts_from_it() -> None:
    without = step("vggsound-train-audio")
    assert "--initialise-from /data/weights/video_tower" in " ".join(without.command)
    dataset = DatasetConfig(root="/v", systems=("video", "audio"))
    trained = step("vggsound-train-audio", ClusterConfig(vggsound=dataset))
    assert "--initialise-from /data/vggsound/runs/video/checkpoint" in " ".join(trained.command)


def test_mlflow_is_reached_within_the_cluster_only_by_names_that_it_allows(repository: Path) -> None:
    parts = {part["kind"]: part for part in documents(repository / CLUSTER / "mlflow.yaml")}
    assert parts["Service"]["spec"]["type"] == "ClusterIP" and "NetworkPolicy" in parts
    container = parts["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    allowed = next(a for a in container["args"] if a.startswith("--allowed-hosts=")).split("=")[1].split(",")
    assert ClusterConfig().tracking_uri.removeprefix("http://") in allowed and "*" not in allowed


SERVED = ClusterConfig(service=ServiceOfCluster(checkpoint="/data/vggsound/runs/joint/checkpoint", most=4))


def test_the_service_fits_the_schema_of_kuberay(repository: Path) -> None:
    kuberay(repository, "rayservices").validate(ray_service(SERVED))


def test_the_service_runs_what_its_settings_allow_behind_a_token_of_a_secret() -> None:
    from ray.serve.schema import ServeDeploySchema

    service = ray_service(SERVED)["spec"]
    deployed = ServeDeploySchema.model_validate(yaml.safe_load(service["serveConfigV2"]))
    app = deployed.applications[0]
    assert app.import_path == "infra.serve.front:application" and deployed.http_options.host == "0.0.0.0"
    config = validate(ServerConfig, app.args, source="args")
    assert config.replicas.most == 4 and config.replicas.gpus == 1 and config.generate.device == "cuda"
    cluster = service["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        token, *others = group["template"]["spec"]["containers"][0]["env"]
        assert token["name"] == "SYNCFLOW_TOKEN" and "secretKeyRef" in token["valueFrom"]
        assert {each["name"]: each["value"] for each in others} == environment(config.limits), (
            "the proxy keeps to the limits"
        )
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    pods = cluster["workerGroupSpecs"][0]
    assert pods["groupName"] == "gpu" and pods["maxReplicas"] == 1, "four replicas fit one node of 8 GPUs"


def test_a_service_is_written_only_for_a_checkpoint(tmp_path: Path) -> None:
    assert write_service(ClusterConfig(output=tmp_path)) == []
    (path,) = write_service(SERVED.model_copy(update={"output": tmp_path}))
    assert yaml.load(Path(path).read_text(), LOADER)["kind"] == "RayService"
