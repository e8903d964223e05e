"""Settings of the web page (`pipelines/app.py`) and of the server (`pipelines/serve.py`)."""

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from syncflow.config import Config, Role
from syncflow.generation.config import GenerateConfig

JSON_BYTES = 64 << 10  # largest body of a request that is no upload
DRAINED = 4  # of a refused body so many times the largest upload is read, so that its sender reads the answer


class LimitsConfig(Config):
    """What one request, and all of them together, may cost."""

    steps: int = Field(default=100, ge=1)
    """Most solver steps of a clip."""
    seconds: float = Field(default=10.0, gt=0)
    """Longest clip, seconds."""
    pixels: int = Field(default=512 * 512, ge=1)
    """Largest frame: height x width, pixels."""
    upload_mib: int = Field(default=200, ge=1)
    """Largest uploaded file, MiB."""
    upload_seconds: float = Field(default=600.0, gt=0)
    """Longest uploaded video, seconds."""
    uploads: int = Field(default=32, ge=1)
    """Uploaded files that are kept; the oldest go first."""
    queue: int = Field(default=128, ge=1)
    """Jobs that may wait; one more is refused with HTTP status 429."""
    batch: int = Field(default=4, ge=1)
    """Most clips of equal shape and settings that are made together."""
    kept: int = Field(default=200, ge=1)
    """Finished jobs whose files are kept; the oldest go first."""
    attempts: int = Field(default=3, ge=1)
    """How often a job is begun whose replica went away before it was done."""


class ServiceConfig(Config):
    """Where the service listens, what it makes clips with, and what a request may cost."""

    folder: Annotated[Path, Role.WORK] = Path("out/app")
    """Folder of the clips made and of the uploads; all replicas must see it."""
    host: Annotated[str, Role.WORK] = "127.0.0.1"
    """Address to listen on. Any but a loopback address needs a token in the environment (SYNCFLOW_TOKEN)."""
    port: Annotated[int, Role.WORK] = Field(default=7860, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    generate: GenerateConfig = GenerateConfig(output=Path("out/app"))
    """Checkpoint, device, and whatever a request leaves open: size, length, solver, guidance."""
    limits: LimitsConfig = LimitsConfig()
    """What a request may cost."""
    previews: int = Field(default=4, ge=0, le=20)
    """Previews of the frames while a clip is made, for requests that ask for them; each is one decoding of
    the video VAE."""
    close_s: float = Field(default=60.0, ge=0)
    """At the end (SIGTERM, Ctrl-C) running clips have this long to finish, seconds."""


class ReplicasConfig(Config):
    """Replicas under Ray Serve; each holds the weights."""

    least: int = Field(default=1, ge=1)
    """Replicas without load."""
    most: int = Field(default=1, ge=1)
    """Replicas under load: one is added for each batch that waits."""
    cpus: float = Field(default=1.0, ge=0)
    """CPU cores that each replica takes."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs that each replica takes."""


class ServerConfig(ServiceConfig):
    """The service under Ray Serve."""

    port: Annotated[int, Role.WORK] = Field(default=8000, ge=0, le=65535)
    """TCP port of Ray Serve's HTTP proxy."""
    page: Annotated[bool, Role.WORK] = False
    """Show the web page, too; its clips are made by the replicas."""
    replicas: ReplicasConfig = ReplicasConfig()
    """Workers that make clips."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
