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
    """Folder of clips for which each variant makes sound; those of its test.txt, or all where it has none."""
    output: Path
    """Folder for the runs, ablation.csv, ablation.md and resolved.yaml."""
    video: Path | None = None
    """Training preset of a video stage, trained once a seed, from which all variants start; none: each starts
    from the weights that its own preset names, as Open-Sora's."""
    variants: dict[str, Path]
    """Training preset of the audio stage by the variant's name."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of first weights, order, noise and times; each variant is trained with each."""
    limit: int = Field(default=0, ge=0)
    """Largest number of clips that are scored, the first ones; 0 takes all."""
    draws: int = Field(default=1, ge=1)
    """Sounds made for each clip, each from noise of its own."""
    solver: SolverConfig = SolverConfig()
    """How sound is made."""
    guidance: float = Field(default=1.0, ge=0)
    """Guidance weight of the sound; 1 is the plain conditional velocity."""
    clean_video: bool = False
    """Sound is made for the picture as it is, not noised to the sound's flow time."""
    validation_passes: int = Field(default=4, ge=1)
    """Times that the held-out windows are gone through for the loss, each with noise and times of its own."""
    tolerance_s: float = Field(default=0.1, gt=0, le=1)
    """Largest distance at which a sound and a motion peak match, seconds."""
    measure_again: bool = False
    """Measure all variants anew, also where results are there."""
    tracking_uri: StoreUri = ""
    """MLflow's store or server; empty takes mlflow.db under `output`, `none` tracks nothing."""
    experiment: str = "syncflow"
    """Experiment in MLflow."""
    run: str = "ablation"
    """Name of the parent run."""

    @property
    def tracking(self) -> str:
        """MLflow's URI, or `none`."""
        return store_of(self.tracking_uri, beside=self.output) or "none"
