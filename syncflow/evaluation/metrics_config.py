"""Settings of the learned metrics of `pipelines/evaluate.py`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from syncflow.config import Config, Role
from syncflow.evaluation.backbone_config import BackboneConfig


class MetricsConfig(Config):
    """Which metrics, against which real clips."""

    names: tuple[str, ...] = ()
    """Metrics and groups of metrics: `open` (the backbones of pipelines/fetch_backbones.py), `paper`, `all`,
    or single ones, for example fad, fvd, kl_panns, clap. Empty: the sync score alone."""
    reference: Path | None = None
    """Folder of real clips. A generated clip is paired with the one whose id its manifest's `video` names, or
    that has its own id."""
    evaluation_set: Path | None = None
    """Table that make_evaluation_set.py wrote (id, prompt, video, start_s), in place of `reference`; clips of
    generate.py --evaluation-set are found by their ids, others by the id of their file or by their row."""
    max_failed: int = Field(default=0, ge=0)
    """Most clips of a system that may have failed; with more its numbers are withheld."""
    features: Annotated[Path | None, Role.WORK] = None
    """Folder of the clips' features, found again by later runs; empty: `features` in `output`."""
    executor: Annotated[Literal["loop", "ray"], Role.WORK] = "loop"
    """Where features are computed: `loop`, in this process; `ray`, by workers under Ray Data with a GPU each
    (`backbones.device` cuda) or a CPU each."""
    workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Most workers of `executor: ray`; 0 takes one per GPU, or per CPU."""
    backbones: BackboneConfig = BackboneConfig()
    """Networks whose features the metrics use: their folder and their preprocessing."""
    compare_with: tuple[Path, ...] = ()
    """Output folders of earlier evaluations whose rows join the table, if their protocol is the same."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reference is not None and self.evaluation_set is not None:
            raise ValueError(
                "metrics.reference and metrics.evaluation_set both say which real clips to compare with; "
                "give one of them"
            )
        for name, value in (("reference", self.reference), ("compare_with", self.compare_with)):
            if value and not self.names:
                raise ValueError(
                    f"metrics.{name} without metrics.names compares nothing; name metrics, for example open"
                )
        if self.executor == "ray" and self.backbones.device not in ("cpu", "cuda"):
            raise ValueError(
                f"backbones.device {self.backbones.device} with executor ray: each worker has its own GPU; "
                "give cuda or cpu"
            )
        return self
