"""How the samples of an update are shared out: over workers, and over their forward passes.

An update is the same samples at any number of workers. Where they do not divide, workers and passes differ
by one sample at most, and each batch carries the weight that keeps the loss the mean over all of them.
"""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol, TypeVar

from syncflow.errors import UserError
from syncflow.training.distributed import rank, world_size

B_co = TypeVar("B_co", covariant=True)
B = TypeVar("B")


class Samples(Protocol[B_co]):
    """A dataset by global sample index (`LatentDataset`); its batches are dataclasses with a `weight`.

    `mine` are the numbers of the samples of this worker's pass, `among` those of all samples of the update.
    """

    def __len__(self) -> int: ...

    def samples(
        self, mine: range, *, among: range, per_step: int, seed: int = 0, drop_probability: float = 0.1
    ) -> B_co: ...


class Splits(Protocol[B_co]):
    """A dataset that has splits."""

    def of_split(self, split: Literal["test"]) -> Samples[B_co]: ...


class UpdateSizes(Protocol):
    """What of a trainer's settings says how many samples go where (`TrainConfig`)."""

    @property
    def batch_size(self) -> int: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def update_samples(self) -> int: ...
    @property
    def validation_batches(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Share:
    """One forward pass of one worker."""

    samples: range
    weight: float  # samples over those of an even share


def forward_passes(samples: int, *, workers: int, largest: int) -> int:
    """Forward passes of at most `largest` samples in which each of `workers` goes through its part.

    Raises:
        UserError: some worker would have a pass without a sample.
    """
    passes = -(-samples // (workers * largest))
    if samples // workers < passes:
        raise UserError(
            f"workers {workers}: {samples} samples an update leave a worker without any in some pass of "
            f"{largest}; raise batch_size, or choose a number of workers that divides {samples}"
        )
    return passes


def shares(update: range, *, rank: int, workers: int, passes: int) -> list[Share]:
    """The passes of worker `rank` over its part of the samples `update`."""

    def split(samples: range, parts: int) -> list[range]:
        ends = [len(samples) * part // parts for part in range(parts + 1)]
        return [samples[start:end] for start, end in pairwise(ends)]

    even = len(update) / (workers * passes)
    return [Share(samples=one, weight=len(one) / even) for one in split(split(update, workers)[rank], passes)]


def passes_of(config: UpdateSizes) -> int:
    """Forward passes of an update at the present number of workers."""
    return forward_passes(config.update_samples, workers=world_size(), largest=config.batch_size)


def batches_of(
    dataset: Samples[B], config: UpdateSizes, *, update: range, drop_probability: float, seed: int = 0
) -> list[B]:
    """This worker's batches of the samples `update`."""
    parts = shares(update, rank=rank(), workers=world_size(), passes=passes_of(config))
    return [
        dataclasses.replace(  # type: ignore[type-var]
            dataset.samples(  # type: ignore[arg-type]
                part.samples,
                among=update,
                per_step=len(update),
                seed=seed,
                drop_probability=drop_probability,
            ),
            weight=part.weight,
        )
        for part in parts
    ]


def batches_of_test_split(dataset: Splits[B], config: UpdateSizes) -> tuple[list[B], list[int]]:
    """As `held_out_batches`, of the test split; empty where there is none, which rank 0 prints."""
    try:
        held_out = dataset.of_split("test")
    except UserError as error:
        if rank() == 0:
            print(f"no validation: {error}", flush=True)
        return [], []
    return held_out_batches(held_out, config)


def held_out_batches(held_out: Samples[B], config: UpdateSizes) -> tuple[list[B], list[int]]:
    """This worker's batches of a validation, and how many samples each counts for.

    All workers have as many batches; together they go through `validation_batches` batches a worker, or
    through all windows once where those are fewer.
    """
    each, passes = config.update_samples // config.accumulate, passes_of(config)
    total = min(len(held_out), config.validation_batches * each)
    batches, counts = [], []
    for start in range(0, total, each):
        block = range(start, min(start + each, total))
        for part in shares(block, rank=rank(), workers=world_size(), passes=passes):
            mine = part.samples or range(start, start + 1)  # a worker without any helps with the gathering
            batches.append(held_out.samples(mine, among=block, per_step=each, drop_probability=0.0))
            counts.append(len(part.samples))
    return batches, counts
