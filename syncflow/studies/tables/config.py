"""Settings of `pipelines/reproduce_tables.py`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from syncflow.config import Config, Role
from syncflow.evaluation.metrics_config import MetricsConfig
from syncflow.places import StoreUri, store_of
from syncflow.records import ClipSpec

SizeName = Literal["miniature", "greatest_hits", "vggsound"]
TableName = Literal["table_1", "table_2", "table_3", "table_4", "figure_5", "cost"]
TABLES: tuple[TableName, ...] = ("table_1", "table_2", "table_3", "table_4", "figure_5", "cost")


class TablesConfig(Config):
    """Tables of the paper, made from nothing or from what is there."""

    tables: tuple[TableName, ...] = TABLES
    """Which of them; `cost` is ours: what fewer steps, reused video features and several draws cost and give.
    Example: table_1 table_3."""
    size: SizeName
    """`miniature`: synthetic clips, on a laptop, with all its jobs; `greatest_hits`, `vggsound`: the paper's
    sizes and GPUs, on your dataset (`data`, `evaluation_set`)."""
    output: Annotated[Path, Role.WORK]
    """Folder of everything that is made; the same command again makes only what lacks."""
    data: Annotated[Path | None, Role.WORK] = None
    """Dataset of latents, as precompute_latents.py wrote it. Needed, but for the miniature."""
    evaluation_set: Annotated[Path | None, Role.WORK] = None
    """Test clips, as make_evaluation_set.py listed them. Needed but for `miniature`."""
    runs: Annotated[Path | None, Role.WORK] = None
    """`output` of train_stage.py, whose stages are taken as they are or made; empty: `runs` in `output`."""
    made: Annotated[dict[str, Path], Role.WORK] = Field(default={})
    """Folders of clips that were made elsewhere, by row (docs/systems.md): each holds 00000-0.mp4 and so on,
    or a manifest.csv. Example: {codi: /clips/codi}."""
    foreign: Annotated[Path | None, Role.WORK] = None
    """Folder of presets of make_audio.py for foreign systems: audiogen.yaml, specvqgan.yaml,
    diff_foley.yaml. Example: foreign, the shipped ones, for environments in out/foreign (docs/systems)."""
    accept_noncommercial_licence: Annotated[bool, Role.WORK] = False
    """Make the rows whose weights may not be used commercially."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the clips; each makes all of them once."""
    limit: int = Field(default=0, ge=0)
    """Test clips, the first ones; 0 takes all (744 of the Greatest Hits in the paper)."""
    last_states: int = Field(default=0, ge=0)
    """Table 4: clips of the last states that each training saved, this many, and the mean over all of them;
    0: 3, as the paper, for `greatest_hits`, and else 1."""
    scales: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 8.0)
    """Figure 5: guidance scales."""
    metrics: MetricsConfig = MetricsConfig()
    """Learned metrics, beside the sync score; `names: [paper]` where their weights are."""
    at_once: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Number of commands that run side by side; more than one shares cores, memory and GPUs among them."""
    tracking_uri: Annotated[StoreUri, Role.WORK] = ""
    """MLflow's store or server; empty takes mlflow.db beside `output`, `none` tracks nothing."""
    experiment: Annotated[str, Role.WORK] = "syncflow"
    """MLflow experiment in which the runs are filed."""
    run: Annotated[str, Role.WORK] = "tables"
    """Name of the parent run in MLflow, which has a run for each system."""
    plan: Annotated[bool, Role.WORK] = False
    """Only print the commands, which of them are done, and which rows cannot be made and why."""

    @property
    def tracking(self) -> str:
        """MLflow's URI; empty when nothing is tracked."""
        return store_of(self.tracking_uri, beside=self.output.resolve().parent)

    @property
    def states_of_table_4(self) -> int:
        """How many saved states of each training Table 4 is the mean over."""
        return self.last_states or (3 if self.size == "greatest_hits" else 1)

    @property
    def stages(self) -> Path:
        """Where the stages are trained."""
        return self.runs or self.output / "runs"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size != "miniature" or self.data or self.evaluation_set:
            for name in ("data", "evaluation_set"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f"{name}: not set; only the miniature makes its own, and then both data and "
                        "evaluation_set"
                    )
        return self


class ReferenceSetConfig(Config):
    """Settings of `pipelines/make_reference_set.py`."""

    evaluation_set: Annotated[Path, Role.WORK]
    """Test clips, as make_evaluation_set.py listed them."""
    output: Annotated[Path, Role.WORK]
    """Folder for the clips, their evaluation set, prompts.csv and videos.csv."""
    clip: ClipSpec = ClipSpec()
    """The window that is cut of each."""
    limit: int = Field(default=0, ge=0)
    """Clips, the first ones; 0 takes all."""
