"""In which order training sees the windows: shuffled anew in every epoch, and kind to the disk.

A window cannot be read without the others of its row group. So the epoch is laid out in lanes, one for each
sample of a step: a lane goes through row groups of its own, at random, and mixes the windows of some of
them. A step takes one window of every lane, so its samples come from as many row groups; and as the workers
share a step by place, all windows of a row group go to one worker, within a few steps, and are read once.

The order follows from the dataset, the seed and the samples of a step, over all workers: not from how many
workers there are, from the rank, or from where a run was resumed.
"""

from collections import OrderedDict

import numpy as np
import torch

from syncflow.noise import keyed_generator

MIXED_STEPS = 64  # steps over which a lane mixes its windows
MIXED_SAMPLES = 1 << 13  # at most so many windows are mixed at a time, over all lanes: they wait in memory
LEAST_STEPS = 8


def epoch_order(groups: np.ndarray, *, per_step: int, seed: int, epoch: int) -> np.ndarray:
    """Rows in the order of an epoch, each once: int32 `n`.

    Args:
        groups: number of the row group of each row, from 0 on without gaps; `n`.
        per_step: samples of a step over all workers; sample `i` of the epoch is in lane `i % per_step`.
        seed: of the run.
        epoch: from 0.
    """
    n = len(groups)
    generator = keyed_generator("order", seed, epoch)
    turns = torch.randperm(int(groups.max()) + 1, generator=generator).numpy()
    sequence = np.argsort(turns[groups], kind="stable")  # row group after row group
    lane = np.arange(min(per_step, n))
    lengths = -(-(n - lane) // per_step)
    starts = np.cumsum(lengths) - lengths
    lane = np.repeat(lane, lengths)
    step = np.arange(n) - np.repeat(starts, lengths)
    steps = mixed_steps(per_step)
    # lanes begin a new mixture one after another, so that the disk is asked for as much at every step
    begins = np.diff(groups[sequence], prepend=-1).astype(bool) | (step == 0)
    begin = step[np.maximum.accumulate(np.where(begins, np.arange(n), 0))]  # of the row group, in its lane
    mixture = (begin + lane * steps // min(per_step, n)) // steps
    draw = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
    mixed = sequence[np.argsort(lane * (mixture.max() + 1) + mixture + draw, kind="stable")]
    order = np.empty(n, np.int32)
    order[step * per_step + lane] = mixed
    return order


def mixed_steps(per_step: int) -> int:
    """Over how many steps a lane mixes its windows."""
    return max(LEAST_STEPS, min(MIXED_STEPS, MIXED_SAMPLES // per_step))


class SampleOrder:
    """Row of every sample of a run; the last epochs' orders are kept.

    Args:
        groups: as `epoch_order`.
    """

    def __init__(self, groups: np.ndarray) -> None:
        self.groups = groups
        self._epochs: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()

    def rows(self, samples: range, *, per_step: int, seed: int) -> np.ndarray:
        """Rows of the samples (global indices from 0) of a run: int64 of as many."""
        epochs, places = np.divmod(np.asarray(samples, np.int64), len(self.groups))
        rows = np.empty(len(samples), np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            rows[chosen] = self._epoch(per_step, seed, int(epoch))[places[chosen]]
        return rows

    def _epoch(self, per_step: int, seed: int, epoch: int) -> np.ndarray:
        key = per_step, seed, epoch
        found = self._epochs.get(key)
        if found is None:
            found = epoch_order(self.groups, per_step=per_step, seed=seed, epoch=epoch)
            self._epochs[key] = found
            while len(self._epochs) > 2:  # a step spans two epochs at most, or is longer than many
                self._epochs.popitem(last=False)
        return found
