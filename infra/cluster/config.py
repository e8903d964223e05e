"""Settings of the KubeRay manifests (`pipelines/render_cluster.py`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from syncflow.config import Config

Step = Literal["precompute", "video", "audio", "joint"]


class ClusterConfig(Config):
    """Where the jobs run; what they do is their presets'."""

    output: Path = Path("infra/cluster/rayjobs")
    """Folder for one manifest a step."""
    preset: str = "vggsound"
    """Folder of presets under pipelines/configs."""
    namespace: str = "syncflow"
    """Kubernetes namespace."""
    image: str = "syncflow:cuda"
    """Image of head, workers and submitter (infra/cluster/Dockerfile)."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch the image."""
    storage_claim: str = "syncflow-data"
    """PersistentVolumeClaim that all pods share (ReadWriteMany)."""
    storage_path: str = Field(default="/data", pattern=r"^/[\w./-]*$")
    """Where it is mounted; clips, latents, runs and checkpoints lie under it."""
    tracking_uri: str = "http://mlflow:5000"
    """MLflow's server (infra/cluster/mlflow.yaml)."""
    gpus: int = Field(default=32, ge=1)
    """GPUs of a training step, one worker each."""
    gpus_per_node: int = Field(default=8, ge=1)
    """GPUs of a node; a pod takes all of one."""
    gpu_product: str = "NVIDIA-H100-80GB-HBM3"
    """Label nvidia.com/gpu.product of the nodes; empty takes any."""
    gpu_node_cpus: int = Field(default=64, ge=1)
    """CPU cores of a GPU pod."""
    gpu_node_memory: str = "512Gi"
    """Memory of a GPU pod."""
    cpu_nodes: int = Field(default=8, ge=0)
    """CPU pods of the precompute step, which decode; training may use up to one."""
    cpu_node_cpus: int = Field(default=32, ge=1)
    """CPU cores of a CPU pod."""
    cpu_node_memory: str = "128Gi"
    """Memory of a CPU pod."""
    retries: int = Field(default=3, ge=0)
    """How often a job that failed is submitted again; it goes on from its last state."""
