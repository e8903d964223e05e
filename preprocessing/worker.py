"""What a worker does with a group of clips: run the steps and commit the outcome."""

from preprocessing.config import PrecomputeConfig
from preprocessing.load_encoders import load_encoders
from preprocessing.recipe import make_recipe
from preprocessing.steps import build_steps, run_steps
from syncflow.data.parquet import LedgerRow
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.errors import UserError
from syncflow.records import ClipRef


class ShardWorker:
    """Loads the models once; then turns each group of clips into one committed shard.

    Args:
        config: the job.
        recipe: the driver's recipe hash.
        owner: id of the job that holds the dataset's lock.
        attempt: of this job's clips; the highest of a clip counts.

    Raises:
        UserError: this machine's weights are not those of the driver, or a model cannot be loaded.
    """

    def __init__(self, config: PrecomputeConfig, *, recipe: str, owner: str, attempt: int) -> None:
        encoders = load_encoders(config.encode)
        mine = make_recipe(config, encoders).sha256
        if mine != recipe:
            raise UserError(
                f"encode: this worker's weights give recipe {mine[:12]}, the driver's {recipe[:12]}"
            )
        self.config, self.attempt = config, attempt
        self.steps = build_steps(config, encoders=encoders, recipe=recipe)
        settings = config.model_dump(mode="json")
        self.writer = DatasetWriter(config.output, recipe=recipe, owner=owner, footer=settings)

    def __call__(self, refs: list[ClipRef]) -> list[LedgerRow]:
        """Process and commit; one ledger row for each clip."""
        outcomes = run_steps(self.steps, refs, at_once=self.config.clips_at_once)
        return self.writer.commit(outcomes, attempt=self.attempt)
