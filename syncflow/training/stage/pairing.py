"""Which noise each sample of an update is given: mini-batch coupling, within a worker or over all of them.

Noise is keyed by sample, so a pairing is no more than a list of indices: every worker can draw the noise
that it is given, and drawn noise never travels between workers. What a thread draws ahead goes along with
its batch.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from syncflow.flow.coupling import assign, pooled_conditions, squared_distances
from syncflow.flow.latents import concatenate, map_latents
from syncflow.flow.noise import keyed_noise
from syncflow.records import AVLatents, LatentBatch
from syncflow.training.distributed import all_rows, device
from syncflow.training.stage.objective import FlowObjective


def paired(batches: Iterable[LatentBatch], *, objective: FlowObjective, passes: int) -> Iterator[LatentBatch]:
    """`batches` with their noise, for training; `passes` of them make an update.

    Collective under `coupling.scope: update`: there every worker asks for as many batches.
    """
    coupling = objective.flow.coupling
    if coupling.method == "none":
        for batch in batches:
            noise = _noise(_data([batch], objective), index=batch.index, objective=objective)
            yield dataclasses.replace(batch, noise=noise)
    elif coupling.scope == "batch":
        for batch in batches:
            yield from exchange_noise([batch], objective=objective, everyone=False)
    else:
        source = iter(batches)
        while update := list(islice(source, passes)):
            yield from exchange_noise(update, objective=objective, everyone=True)


def exchange_noise(
    batches: Sequence[LatentBatch], *, objective: FlowObjective, everyone: bool
) -> list[LatentBatch]:
    """The noise of all these samples, exchanged among them; among all workers' samples if `everyone`.

    For one worker it stays on the CPU, so that a thread may do it ahead. Over all workers it is collective:
    each computes the costs of its own noise against all data, in float64, so that the rounding which another
    number of workers gives is far too small to change the assignment.
    """
    config, draws = objective.flow.coupling, objective.flow.audio_draws
    index = torch.cat([batch.index for batch in batches])
    x_1 = _data(batches, objective)
    x_0 = _noise(x_1, index=index, objective=objective)
    conditions = None
    if config.method == "c2ot":
        conditions = torch.cat([pooled_conditions(b.text.tokens, b.text.mask) for b in batches])
    first = 0
    if everyone:
        where, own = device(), index
        x_0 = map_latents(lambda part: part.to(where), x_0)
        x_1 = map_latents(lambda part: all_rows(part.to(where)), x_1)
        conditions = None if conditions is None else all_rows(conditions.to(where))
        index = all_rows(own.to(where)).cpu()
        first = int((index == own[0]).nonzero()[0])
    dtype = torch.float64 if everyone else torch.float32
    distance = squared_distances(x_0, x_1, config=config, audio_draws=draws, dtype=dtype)
    distance = (all_rows(distance) if everyone else distance).cpu()
    found = assign(distance, config=config, conditions=conditions)
    sizes = [len(batch.index) for batch in batches]
    taken = index[found.permutation][first : first + sum(sizes)].split(sizes)
    noise: Sequence[AVLatents | None] = [None] * len(batches)  # another worker may have drawn it
    if not everyone:
        noise = [map_latents(lambda part: _rows(part, found.permutation), x_0)]
    return [
        dataclasses.replace(batch, noise_index=mine, noise=given, coupling_gain=found.gain)
        for batch, mine, given in zip(batches, taken, noise, strict=True)
    ]


def _data(batches: Sequence[LatentBatch], objective: FlowObjective) -> AVLatents:
    """In float32, as the model is given them."""
    return map_latents(torch.Tensor.float, concatenate([objective.data(batch) for batch in batches]))


def _noise(like: AVLatents, *, index: Tensor, objective: FlowObjective) -> AVLatents:
    """Of these samples, not exchanged."""
    return keyed_noise(like, seed=objective.seed, index=index, audio_draws=objective.flow.audio_draws)


def _rows(part: Tensor, order: Tensor) -> Tensor:
    """`b ...` or `(b k) ...` in another order of b; the k draws of a sample stay together."""
    return part.unflatten(0, (len(order), -1))[order].flatten(0, 1)
