"""Settings of `pipelines/ablate.py`."""

from pathlib import Path

from pydantic import Field

from syncflow.config import Config
from syncflow.flow.config import SolverConfig
from syncflow.places import StoreUri, store_of


class AblationConfig(Config):
    """Variants of the audio stage, each over several seeds (Table 4, Figure 6)."""

    data: Path
    """Dataset of latents, as precompute_latents.py wrote it."""
    clips: Path
    """Folder of clips for which each variant makes audio; those of its test.txt, or all where it has none."""
    output: Path
    """Folder for the runs, ablation.csv, ablation.md and resolved.yaml."""
    video: Path | None = None
    """Training preset of a video stage, trained once per seed, from which all variants start; none: each
    starts from the weights that its own preset names, for example Open-Sora's."""
    variants: dict[str, Path]
    """Name of each variant and the training preset of its audio stage."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of first weights, sample order, noise and flow times; each variant is trained once with each."""
    limit: int = Field(default=0, ge=0)
    """Largest number of clips that are scored, in the order of the folder; 0 scores all."""
    draws: int = Field(default=1, ge=1)
    """Audio tracks made for each clip, each from its own noise."""
    solver: SolverConfig = SolverConfig()
    """Solver with which the audio is sampled."""
    guidance: float = Field(default=1.0, ge=0)
    """Guidance weight of the audio; 1 is the plain conditional velocity."""
    clean_video: bool = False
    """Whether the audio tower reads the finished video rather than one noised to the audio's flow time."""
    validation_passes: int = Field(default=4, ge=1)
    """Passes over the held-out windows for the loss, each with its own noise and flow times."""
    tolerance_s: float = Field(default=0.1, gt=0, le=1)
    """Largest distance at which an audio onset and a motion peak match, seconds."""
    measure_again: bool = False
    """Measure all variants again, also those that have results."""
    tracking_uri: StoreUri = ""
    """MLflow's store or server; empty takes mlflow.db under `output`, `none` tracks nothing."""
    experiment: str = "syncflow"
    """MLflow experiment in which the runs are filed."""
    run: str = "ablation"
    """Name of the parent run in MLflow."""

    @property
    def tracking(self) -> str:
        """MLflow's URI, or `none`."""
        return store_of(self.tracking_uri, beside=self.output) or "none"
