"""The batches of a stage, from a dataset of latents: for its updates, and for the whitening."""

from collections.abc import Iterator
from itertools import count

from syncflow.data.batches import LatentDataset
from syncflow.records import LatentBatch
from syncflow.training.shares import batches_of
from syncflow.training.stage.config import TrainConfig


def training_batches(
    dataset: LatentDataset, config: TrainConfig, *, start_step: int
) -> Iterator[LatentBatch]:
    """This worker's batches from update `start_step` on, for ever."""
    for step in count(start_step):
        update = range(step * config.update_samples, (step + 1) * config.update_samples)
        yield from batches_of(
            dataset, config, update=update, drop_probability=config.prompt_dropout, seed=config.seed
        )


def whitening_batches(dataset: LatentDataset, config: TrainConfig) -> Iterator[LatentBatch]:
    """The run's first samples, the same for any number of workers."""
    for start in range(0, config.whitening_samples, config.batch_size):
        mine = range(start, min(start + config.batch_size, config.whitening_samples))
        yield dataset.samples(
            mine,
            among=mine,
            per_step=config.update_samples,
            seed=config.seed,
            drop_probability=config.prompt_dropout,
        )
