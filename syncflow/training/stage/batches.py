"""The batches of a stage, from a dataset of latents: for its updates, its validation and its whitening."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

from syncflow.data.batches import LatentDataset
from syncflow.records import LatentBatch
from syncflow.training.engine import Engine
from syncflow.training.finite import Fault
from syncflow.training.loop import Callback
from syncflow.training.prefetch import prefetch
from syncflow.training.shares import batches_of, batches_of_test_split, passes_of
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.pairing import paired
from syncflow.training.stage.transfer import few_lengths, pin
from syncflow.training.validation import Validation


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


def noised_batches(
    dataset: LatentDataset,
    config: TrainConfig,
    objective: FlowObjective,
    *,
    start_step: int,
    compiled: bool = False,
) -> Iterator[LatentBatch]:
    """This worker's batches, read ahead and coupled with noise; what needs no other worker is done ahead.

    For `compiled` blocks prompts are padded to a few lengths.
    """
    batches, passes = training_batches(dataset, config, start_step=start_step), passes_of(config)
    if compiled:
        batches = map(partial(few_lengths, longest=config.model.video.max_text_tokens), batches)
    if config.flow.coupling.scope == "batch":
        return prefetch(map(pin, paired(batches, objective=objective, passes=passes)))
    return paired(prefetch(map(pin, batches)), objective=objective, passes=passes)


def validation_of(
    engine: Engine[LatentBatch],
    config: TrainConfig,
    dataset: LatentDataset,
    reporters: Sequence[Callback],
    *,
    fault: Fault,
    compiled: bool = False,
) -> list[Callback]:
    """Validation on the test split, where it is asked for and there is one.

    Args:
        fault: names the samples of a loss that is not finite.
        compiled: whether the model's blocks run compiled.
    """
    if not config.validate_every:
        return []
    batches, counts = batches_of_test_split(dataset, config)
    if not batches:
        return []
    if compiled:
        batches = [few_lengths(each, longest=config.model.video.max_text_tokens) for each in batches]
    every = config.validate_every
    return [Validation(engine, batches, counts=counts, every=every, reporters=reporters, fault=fault)]
