"""A KubeRay RayService: the HTTP API, whose replicas have a GPU each."""

from pathlib import Path
from typing import Any

import ray
import yaml

from infra.cluster.config import ClusterConfig
from infra.cluster.rayjob import RUNTIME_ENV, head_group, worker_group
from infra.serve.run import environment
from syncflow.generation.config import GenerateConfig
from syncflow.serving.config import LimitsConfig, ReplicasConfig, ServerConfig

PORT = 8000
SECRET = "syncflow-token"  # kubectl create secret generic syncflow-token --from-literal=token=...


def ray_service(config: ClusterConfig) -> dict[str, Any]:
    """The manifest. Clients reach it inside the cluster, with the token that is in the secret `SECRET`."""
    service = config.service
    nodes = -(-service.most // config.gpus_per_node)
    head = head_group(config)
    head["template"]["spec"]["containers"][0]["ports"].append({"name": "serve", "containerPort": PORT})
    workers = worker_group("gpu", config, least=-(-service.least // config.gpus_per_node), most=nodes)
    token = {"name": "SYNCFLOW_TOKEN", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "token"}}}
    variables = [{"name": name, "value": value} for name, value in environment(LimitsConfig()).items()]
    for group in (head, workers):
        group["template"]["spec"]["containers"][0]["env"] = [token, *variables]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {
            "name": "syncflow",
            "namespace": config.namespace,
            "labels": {"app.kubernetes.io/part-of": "syncflow", "app.kubernetes.io/component": "service"},
        },
        "spec": {
            "serveConfigV2": yaml.safe_dump(_serve_config(config), sort_keys=False),
            "rayClusterConfig": {
                "rayVersion": ray.__version__,
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "headGroupSpec": head,
                "workerGroupSpecs": [workers],
            },
        },
    }


def _serve_config(config: ClusterConfig) -> dict[str, Any]:
    folder = Path(config.storage_path) / "service"
    server = ServerConfig(
        folder=folder,
        host="0.0.0.0",
        port=PORT,
        generate=GenerateConfig(checkpoint=Path(config.service.checkpoint), output=folder, device="cuda"),
        replicas=ReplicasConfig(least=config.service.least, most=config.service.most, gpus=1),
    )
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": server.host, "port": server.port},
        "applications": [
            {
                "name": "syncflow",
                "route_prefix": "/",
                "import_path": "infra.serve.front:application",
                "runtime_env": {"env_vars": RUNTIME_ENV["env_vars"] | {"PYTHONPATH": config.code}},
                "args": server.model_dump(mode="json"),
            }
        ],
    }


def write_service(config: ClusterConfig) -> list[str]:
    """service.yaml under `config.output`, where a checkpoint is named; its path."""
    if not config.service.checkpoint:
        return []
    path = config.output / "service.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# the HTTP API; made by: python pipelines/render_cluster.py --help\n"
    text = yaml.safe_dump(ray_service(config), sort_keys=False, width=100)
    path.write_text(head + text, encoding="utf-8")
    return [str(path)]
