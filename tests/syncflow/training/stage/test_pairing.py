"""Which noise each sample is given."""

import dataclasses

import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.flow.coupling import assign, squared_distances
from syncflow.flow.noise import keyed_noise
from syncflow.training.stage.batches import training_batches
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.pairing import exchange_noise, paired
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model


def case(config):
    model, _ = starting_model(config)
    dataset = LatentDataset(config.data)
    objective = FlowObjective(
        model,
        stage=STAGES[config.stage],
        flow=config.flow,
        spec=dataset.spec,
        frame_times=dataset.frame_times,
        seed=config.seed,
    )
    return objective, dataset


def indices(config, *, passes: int) -> list[list[int]]:
    """Noise of the samples of the first two updates."""
    objective, dataset = case(config)
    source = paired(training_batches(dataset, config, start_step=0), objective=objective, passes=passes)
    return [torch.cat([next(source).noise_index for _ in range(passes)]).tolist() for _ in range(2)]


@pytest.mark.parametrize("draws", [1, 3])
def test_a_batch_is_paired_as_the_coupling_of_its_noise_and_data(settings, draws: int) -> None:
    """One exchange moves the noise of both modalities, and all audio noises of a sample."""
    config = settings("joint", initialise_from="none", batch_size=8, flow={"audio_draws": draws})
    objective, dataset = case(config)
    batch = dataset.batch(0, batch_size=8)
    (found,) = exchange_noise([batch], objective=objective, everyone=False)
    x_1, coupling = batch.latents, config.flow.coupling
    x_0 = keyed_noise(x_1, seed=config.seed, index=batch.index, audio_draws=draws)
    expected = assign(squared_distances(x_0, x_1, config=coupling, audio_draws=draws), config=coupling)
    order = expected.permutation
    assert found.noise_index.tolist() == order.tolist() != list(range(8))
    assert found.coupling_gain == expected.gain > 0
    path = objective.draw(found)
    assert torch.equal(path.velocity.video, x_1.video - x_0.video[order])
    audio = x_1.audio.repeat_interleave(draws, 0) - x_0.audio.unflatten(0, (8, draws))[order].flatten(0, 1)
    assert torch.equal(path.velocity.audio, audio)


def test_under_scope_update_the_pairing_does_not_depend_on_the_passes(settings) -> None:
    flow = {"coupling": {"scope": "update"}}
    whole, parts = (
        settings("joint", initialise_from="none", flow=flow, batch_size=b, accumulate=a)
        for b, a in ((8, 1), (2, 4))
    )
    first, second = indices(whole, passes=1)
    assert sorted(first) == list(range(8)) and sorted(second) == list(range(8, 16))
    assert indices(parts, passes=4) == [first, second]
    alone = settings("joint", initialise_from="none", batch_size=2, accumulate=4)
    assert indices(alone, passes=4) != [first, second]


def test_conditions_hold_noise_back_under_scope_update_too(settings) -> None:
    coupling = {"method": "c2ot", "scope": "update", "target_ratio": 1e-6}
    config = settings("joint", initialise_from="none", batch_size=8, flow={"coupling": coupling})
    objective, dataset = case(config)
    batch = dataset.batch(0, batch_size=8)
    (found,) = exchange_noise([batch], objective=objective, everyone=True)
    captions = {g: dataset.sample(g, per_step=8, seed=0).caption for g in range(8)}
    assert [captions[g] for g in found.noise_index.tolist()] == [captions[g] for g in batch.index.tolist()]


def test_without_coupling_each_sample_keeps_its_noise(settings) -> None:
    config = settings("joint", initialise_from="none", flow={"coupling": {"method": "none"}})
    assert indices(config, passes=1) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("method", ["none", "ot"])
def test_noise_that_is_drawn_ahead_is_the_one_that_would_be_drawn_later(settings, method: str) -> None:
    flow = {"audio_draws": 2, "coupling": {"method": method}}
    config = settings("joint", initialise_from="none", batch_size=4, flow=flow)
    objective, dataset = case(config)
    ahead = next(paired(training_batches(dataset, config, start_step=0), objective=objective, passes=1))
    assert ahead.noise is not None
    paths = [objective.draw(batch) for batch in (ahead, dataclasses.replace(ahead, noise=None))]
    for part in ("video", "audio"):
        assert torch.equal(*(getattr(path.x_t, part) for path in paths))
