"""A KubeRay RayJob a step: a head without work, CPU and GPU worker groups, token authentication."""

import shlex
from typing import Any

import ray
import yaml

from infra.cluster.config import ClusterConfig
from infra.cluster.steps import Step, steps

RUNTIME_ENV = {
    "env_vars": {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "NCCL_ASYNC_ERROR_HANDLING": "1",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "DS_SKIP_CUDA_CHECK": "1",
    }
}


def ray_job(step: Step, config: ClusterConfig) -> dict[str, Any]:
    """The manifest of a step. The cluster lives as long as the job; a failed job is submitted again."""
    gpu_nodes = -(-step.gpus // config.gpus_per_node)
    groups = [worker_group("cpu", config, least=0 if gpu_nodes else 1, most=max(1, step.cpu_nodes))]
    if gpu_nodes:  # all of them from the beginning: the job starts when they are there
        groups.append(worker_group("gpu", config, least=gpu_nodes, most=gpu_nodes))
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": f"syncflow-{step.name}",
            "namespace": config.namespace,
            "labels": {"app.kubernetes.io/part-of": "syncflow", "app.kubernetes.io/component": step.name},
        },
        "spec": {
            "entrypoint": shlex.join(step.command),
            "submissionMode": "K8sJobMode",
            "backoffLimit": config.retries,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "runtimeEnvYAML": yaml.safe_dump(runtime_env(step, config), sort_keys=True),
            "rayClusterSpec": {
                "rayVersion": ray.__version__,
                "authOptions": {"mode": "token"},
                "headGroupSpec": head_group(config),
                "workerGroupSpecs": groups,
            },
        },
    }


def runtime_env(step: Step, config: ClusterConfig) -> dict[str, Any]:
    """Environment of driver and workers; the code is the nodes' own."""
    hub = {"HF_HUB_OFFLINE": str(int(step.offline)), "HF_HOME": f"{config.storage_path}/huggingface"}
    return {"env_vars": RUNTIME_ENV["env_vars"] | hub | {"PYTHONPATH": config.code}}


def head_group(config: ClusterConfig) -> dict[str, Any]:
    """The head: it schedules, and runs a job's own process, but no workers."""
    resources = {"cpu": str(config.head_cpus), "memory": config.head_memory}
    ports = [("gcs", 6379), ("dashboard", 8265), ("client", 10001)]
    container = _container("ray-head", config, requests=resources, limits=resources)
    container["ports"] = [{"name": name, "containerPort": port} for name, port in ports]
    return {
        "serviceType": "ClusterIP",
        "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
        "template": {"spec": _pod(container, config)},
    }


def worker_group(group: str, config: ClusterConfig, *, least: int, most: int) -> dict[str, Any]:
    """Pods of one kind, `cpu` or `gpu`.

    Args:
        group: name of the kind.
    """
    if group == "gpu":
        resources = {"cpu": str(config.gpu_node_cpus), "memory": config.gpu_node_memory}
        resources["nvidia.com/gpu"] = str(config.gpus_per_node)
    else:
        resources = {"cpu": str(config.cpu_node_cpus), "memory": config.cpu_node_memory}
    pod = _pod(_container("ray-worker", config, requests=resources, limits=resources), config)
    if group == "gpu":
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        if config.gpu_product:
            pod["nodeSelector"] = {"nvidia.com/gpu.product": config.gpu_product}
    return {
        "groupName": group,
        "replicas": most,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": {"spec": pod},
    }


def _container(name: str, config: ClusterConfig, **resources: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": config.image,
        "imagePullPolicy": config.image_pull_policy,
        "resources": resources,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "data", "mountPath": config.storage_path},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def _pod(container: dict[str, Any], config: ClusterConfig) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": config.storage_claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }


def write_jobs(config: ClusterConfig) -> list[str]:
    """One YAML file a step under `config.output`; their paths, in the order of the steps."""
    written = []
    for step in steps(config):
        path = config.output / step.file
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f"# {step.name}; made by: python pipelines/render_cluster.py --help\n"
        path.write_text(
            head + yaml.safe_dump(ray_job(step, config), sort_keys=False, width=100), encoding="utf-8"
        )
        written.append(str(path))
    return written
