"""Settings of `pipelines/train_foleygen.py`; sizes that the original does not tell are AudioGen's."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from syncflow.config import Config, Role
from syncflow.data.config import DataFilters
from syncflow.foleygen.config import FoleyGenSizes
from syncflow.places import StoreUri, store_of
from syncflow.training.engine_config import EngineConfig, OptimizerConfig


class FoleyGenTrainConfig(Config):
    """FoleyGen, trained on the codes and frame features of a dataset."""

    data: Annotated[Path, Role.WORK]
    """Dataset of latents, as precompute_latents.py wrote it."""
    codes: Annotated[Path | None, Role.WORK] = None
    """Table of codes of the dataset, as precompute_codes.py wrote it; empty: `foleygen` in the dataset's
    folder."""
    output: Annotated[Path, Role.WORK] = Path("out/foleygen")
    """Folder for states, the checkpoint and resolved.yaml."""
    model: FoleyGenSizes = FoleyGenSizes()
    """Sizes of the Transformer; those of codes and features come from the table."""
    filters: DataFilters = DataFilters()
    """Rows of the dataset to train on."""
    optimizer: OptimizerConfig = OptimizerConfig(
        lr=5e-4, betas=(0.9, 0.95), weight_decay=0.1, warmup_steps=3000, decay="inverse_sqrt"
    )
    """AdamW and its learning rate."""
    engine: EngineConfig = EngineConfig()
    """DeepSpeed or plain torch; nothing is compiled, and no activation is computed again."""
    steps: Annotated[int, Role.WORK] = Field(default=150_000, ge=1)
    """Number of updates in all, those before a resume included."""
    batch_size: Annotated[int, Role.WORK] = Field(default=16, ge=1)
    """Samples per worker in one forward pass."""
    accumulate: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Forward passes per update."""
    workers: Annotated[int, Role.WORK] = Field(default=8, ge=1)
    """Worker processes; one GPU each where there are GPUs."""
    max_failures: Annotated[int, Role.WORK] = Field(default=3, ge=0)
    """How often workers that died are started again, from the last state."""
    stall_minutes: Annotated[float, Role.WORK] = Field(default=20, ge=0)
    """Minutes without a step after which a worker ends, and leaves the stack of its threads in `stalled`; the
    other workers end too, and all start again. 0: they wait without end."""
    frames_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of the clips whose frames are dropped, for guidance."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay per step of the moving average of the weights (reached slowly: (1+n)/(10+n)), which is what is
    saved; 0: the last step's weights."""
    seed: int = 0
    """Seed of the weights, the order of the samples and the dropped frames."""
    checkpoint_every: Annotated[int, Role.WORK] = Field(default=500, ge=1)
    """Steps between the states from which a run resumes."""
    keep: Annotated[int, Role.WORK] = Field(default=2, ge=1)
    """Number of saved states; older ones are deleted."""
    log_every: Annotated[int, Role.WORK] = Field(default=50, ge=1)
    """Steps between two points of the curves."""
    validate_every: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Steps between two validations on the test split; 0: never."""
    validation_batches: Annotated[int, Role.WORK] = Field(default=8, ge=1)
    """Number of batches per validation."""
    cache_gb: Annotated[float, Role.WORK] = Field(default=2.0, gt=0)
    """Memory per worker for codes that were read before, GiB."""
    allow_change: Annotated[tuple[str, ...], Role.WORK] = ()
    """Settings, by dotted name, in which a resumed run may differ from its beginning."""
    experiment: Annotated[str, Role.WORK] = "syncflow"
    """MLflow experiment in which the run is filed."""
    tracking_uri: Annotated[StoreUri, Role.WORK] = ""
    """MLflow's store or server; empty takes mlflow.db beside `output`, `none` tracks nothing."""

    @property
    def table(self) -> Path:
        """The table of codes."""
        return self.codes or self.data / "foleygen"

    @property
    def uses_zero(self) -> bool:
        """Whether the engine is DeepSpeed's ZeRO."""
        return self.engine.kind == "deepspeed" or (self.engine.kind == "auto" and self.workers > 1)

    @property
    def update_samples(self) -> int:
        """Samples of one update, over all workers."""
        return self.batch_size * self.accumulate * self.workers

    @property
    def tracking(self) -> str:
        """MLflow's URI; empty when nothing is tracked."""
        return store_of(self.tracking_uri, beside=self.output.resolve().parent)
