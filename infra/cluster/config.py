"""Settings of the KubeRay manifests (`pipelines/render_cluster.py`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from syncflow.config import Config
from syncflow.places import FolderOrUrl, Place, sqlite_file
from syncflow.storage import is_url

System = Literal["video", "audio", "joint", "audio_no_adaptor", "audio_text", "single_stage"]
"""A model that is trained: the name of its training preset."""


class WeightsConfig(Config):
    """Public weights: hub ids, or folders that all nodes see. The first step converts or copies them."""

    text_encoder: Place = "DeepFloyd/t5-v1_1-xxl"
    """Hub name of the T5 encoder that embeds prompts."""
    captioner: Place = "microsoft/git-base-vatex"
    """Hub name of the GIT model that writes captions."""
    video_tower: Place = "hpcai-tech/OpenSora-STDiT-v3"
    """Hub name of Open-Sora v1.2's diffusion transformer."""
    video_vae: Place = "hpcai-tech/OpenSora-VAE-v1.2"
    """Hub name of Open-Sora v1.2's video VAE."""


class DatasetConfig(Config):
    """One dataset: where its raw files lie, what is trained on it, and with how many workers."""

    enabled: bool = True
    """Whether jobs are written for this dataset."""
    preset: str = ""
    """Folder of the dataset's presets: a name under pipelines/configs, or an absolute path; empty: its
    own."""
    root: FolderOrUrl = ""
    """Folder of the dataset's clips."""
    index: Path | None = None
    """The dataset's csv (`source.index`)."""
    captions: Path | None = None
    """Table of captions that exist already (`source.captions`)."""
    known_bad: Path | None = None
    """Table of clips that are not to be used (`source.known_bad`)."""
    audio_vae: Place = ""
    """Folder of a trained audio VAE, for a dataset that trains none of its own; empty: it trains one."""
    systems: tuple[System, ...] = ("audio", "joint")
    """Systems that are trained, in this order."""
    workers: int = Field(default=32, ge=1)
    """Workers of each training stage, one GPU each."""
    audio_vae_workers: int = Field(default=8, ge=1)
    """Workers that train the audio VAE, one GPU each."""
    precompute_gpus: int = Field(default=8, ge=0)
    """GPUs of the precompute job; 0: its models run on CPUs."""
    generate_gpus: int = Field(default=8, ge=0)
    """GPUs that generate clips, one worker each; 0: CPUs."""


class ServiceConfig(Config):
    """The HTTP API as a RayService; it is written where a checkpoint is named."""

    checkpoint: Place = ""
    """Checkpoint or saved pipeline that the service makes clips with: a folder that all pods see."""
    least: int = Field(default=1, ge=1)
    """Replicas of the service without load, one GPU each."""
    most: int = Field(default=8, ge=1)
    """Replicas of the service under load, one GPU each."""


class ClusterConfig(Config):
    """Where the jobs run, and where what they read and write lies; what they do is their presets'."""

    output: Path = Path("jobs")
    """Folder for the manifests, one per step."""
    vggsound: DatasetConfig = DatasetConfig(
        root="/data/raw/vggsound/video", index=Path("/data/raw/vggsound/vggsound.csv")
    )
    """Jobs for the VGGSound dataset."""
    greatest_hits: DatasetConfig = DatasetConfig(
        root="/data/raw/greatest_hits",
        audio_vae="/data/vggsound/audio_vae",
        systems=("audio", "audio_no_adaptor", "audio_text"),
        workers=8,
    )
    """Jobs for the Greatest Hits dataset; its three systems are the rows of the paper's Table 4."""
    service: ServiceConfig = ServiceConfig()
    """The HTTP API on this cluster."""
    weights: WeightsConfig = WeightsConfig()
    """Public weights that the first step converts."""
    offline: bool = False
    """Whether the first step, too, reads only what the hub's cache on the storage holds."""
    code: str = Field(default="/opt/syncflow", pattern=r"^/[^\s']*$")
    """Folder of this project on the nodes (in the image)."""
    python: str = Field(default="python", pattern=r"^[^\s']+$")
    """Path of the Python interpreter on the nodes."""
    namespace: str = "syncflow"
    """Kubernetes namespace of the jobs."""
    image: str = "syncflow:cuda"
    """Image of head, workers and submitter (infra/cluster/Dockerfile)."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch the image: Always, IfNotPresent or Never."""
    storage_claim: str = "syncflow-data"
    """PersistentVolumeClaim that all pods share (ReadWriteMany)."""
    storage_path: str = Field(default="/data", pattern=r"^/[\w./-]*$")
    """Path at which the shared storage is mounted; clips, latents, runs and checkpoints are under it."""
    tracking_uri: str = "http://mlflow:5000"
    """URI of the MLflow server (infra/cluster/mlflow.yaml)."""
    head_cpus: int = Field(default=8, ge=1)
    """CPU cores of the head, on which a job's own process runs: it converts weights, scores clips, and
    loads the encoders once to hash them."""
    head_memory: str = "48Gi"
    """Memory of the head, for example 48Gi (T5-XXL takes 10 GiB of it)."""
    gpus_per_node: int = Field(default=8, ge=1)
    """GPUs per node; a pod takes all of one node."""
    gpu_product: str = "NVIDIA-H100-80GB-HBM3"
    """Label nvidia.com/gpu.product of the nodes; empty takes any."""
    gpu_node_cpus: int = Field(default=64, ge=1)
    """CPU cores of each GPU pod."""
    gpu_node_memory: str = "512Gi"
    """Memory of each GPU pod, for example 128Gi."""
    cpu_nodes: int = Field(default=8, ge=0)
    """CPU pods of the precompute and audio VAE steps, which decode; other steps have at most one."""
    cpu_node_cpus: int = Field(default=32, ge=1)
    """CPU cores of each CPU pod."""
    cpu_node_memory: str = "128Gi"
    """Memory of each CPU pod, for example 64Gi."""
    retries: int = Field(default=3, ge=0)
    """How often a job that failed is submitted again; it goes on from its last state."""

    @property
    def datasets(self) -> dict[str, DatasetConfig]:
        """Those that jobs are written for."""
        return {name: each for name in DATASETS if (each := getattr(self, name)).enabled}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, value in self._places():
            if value and not (Path(value).is_absolute() or is_url(value)):
                raise ValueError(
                    f"{name} {value}: relative; pods share only {self.storage_path}, so give an absolute path"
                )
        for name, dataset in self.datasets.items():
            if not dataset.root:
                raise ValueError(
                    f"{name}.root: not set; give the folder of its clips, or {name}.enabled false"
                )
        return self

    def _places(self) -> Iterator[tuple[str, str]]:
        """What must be absolute: hub ids may stand under `weights` alone."""
        for name, dataset in self.datasets.items():
            for field in ("root", "index", "captions", "known_bad", "audio_vae"):
                yield f"{name}.{field}", str(getattr(dataset, field) or "")
        yield "service.checkpoint", self.service.checkpoint
        if (file := sqlite_file(self.tracking_uri)) is not None:
            yield "tracking_uri", str(file)


DATASETS = ("vggsound", "greatest_hits")
