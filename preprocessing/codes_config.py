"""Settings of `pipelines/precompute_codes.py`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from syncflow.config import Config, Role
from syncflow.foleygen.config import CodecConfig, VisualConfig


class CodesConfig(Config):
    """Codes of the audio and features of the frames of every window of a dataset, for FoleyGen."""

    data: Annotated[Path, Role.WORK]
    """Dataset of latents, as precompute_latents.py wrote it; its clips are read again."""
    output: Annotated[Path | None, Role.WORK] = None
    """Folder of the table; empty: `foleygen` in the dataset's folder."""
    codec: CodecConfig = CodecConfig()
    """Model that turns audio into codes."""
    visual: VisualConfig = VisualConfig()
    """Model that turns frames into features."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Role.ROUNDING] = "auto"
    """Device of the models: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""
    executor: Annotated[Literal["ray", "loop"], Role.WORK] = "ray"
    """`ray`: workers under Ray Data, here or on a cluster; `loop`: this process alone."""
    workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Workers under Ray; 0: what the cluster's CPUs and GPUs hold."""

    @property
    def folder(self) -> Path:
        """What is written."""
        return self.output or self.data / "foleygen"
