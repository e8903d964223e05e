import itertools

import pytest
import torch

from syncflow.flow.config import CouplingConfig
from syncflow.flow.coupling import (
    Assignment,
    assign,
    condition_distances,
    condition_weight,
    pooled_conditions,
)
from syncflow.flow.coupling import squared_distances as distances
from syncflow.records import AVLatents


def pair(seed: int, batch: int = 5) -> AVLatents:
    generator = torch.Generator().manual_seed(seed)
    return AVLatents(
        video=torch.randn(batch, 4, 2, 3, 3, generator=generator),
        audio=torch.randn(batch, 7, 8, generator=generator),
    )


def shuffled(latents: AVLatents, order: torch.Tensor) -> AVLatents:
    return AVLatents(video=latents.video[order], audio=latents.audio[order])


def assigned(
    x_0: AVLatents, x_1: AVLatents, *, config: CouplingConfig, conditions: torch.Tensor | None = None
) -> Assignment:
    return assign(distances(x_0, x_1, config=config), config=config, conditions=conditions)


def transport(x_0: AVLatents, x_1: AVLatents, config: CouplingConfig) -> float:
    return float(distances(x_0, x_1, config=config).diagonal().sum())


CONFIGS = [
    CouplingConfig(),
    CouplingConfig(score="video"),
    CouplingConfig(score="audio"),
    CouplingConfig(video_weight=0.2, audio_weight=3.0),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(5))
def test_no_permutation_costs_less(config: CouplingConfig, seed: int) -> None:
    x_0, x_1 = pair(seed), pair(seed + 100)
    found = assigned(x_0, x_1, config=config)
    every = (shuffled(x_0, torch.tensor(order)) for order in itertools.permutations(range(5)))
    best = min(transport(candidate, x_1, config) for candidate in every)
    assert transport(shuffled(x_0, found.permutation), x_1, config) == pytest.approx(best)


def test_identical_pairs_find_each_other() -> None:
    data, order = pair(0, batch=16), torch.randperm(16, generator=torch.Generator().manual_seed(1))
    found = assigned(shuffled(data, order), data, config=CouplingConfig())
    assert torch.equal(order[found.permutation], torch.arange(16))
    assert found.gain == pytest.approx(1.0)


@pytest.mark.parametrize("config", CONFIGS)
def test_each_noise_is_used_once(config: CouplingConfig) -> None:
    found = assigned(pair(2, batch=16), pair(3, batch=16), config=config)
    assert sorted(found.permutation.tolist()) == list(range(16))


def test_a_modality_that_does_not_score_has_no_say() -> None:
    x_0, x_1 = pair(4, batch=8), pair(5, batch=8)
    config = CouplingConfig(score="video")
    alone = assigned(
        AVLatents(video=x_0.video, audio=None), AVLatents(video=x_1.video, audio=None), config=config
    )
    assert torch.equal(assigned(x_0, x_1, config=config).permutation, alone.permutation)


def test_the_gain_is_the_share_of_transport_saved() -> None:
    x_0, x_1, config = pair(6), pair(7), CouplingConfig()
    found = assigned(x_0, x_1, config=config)
    assert found.gain == pytest.approx(
        1 - transport(shuffled(x_0, found.permutation), x_1, config) / transport(x_0, x_1, config)
    )
    assert found.gain >= 0


def test_a_batch_of_one_keeps_its_noise() -> None:
    found = assigned(pair(8, 1), pair(9, 1), config=CouplingConfig())
    assert found.permutation.tolist() == [0] and found.gain == 0


def test_c2ot_with_one_condition_is_ot() -> None:
    x_0, x_1 = pair(10, 12), pair(11, 12)
    same = assigned(x_0, x_1, config=CouplingConfig(method="c2ot"), conditions=torch.ones(12, 3))
    assert torch.equal(same.permutation, assigned(x_0, x_1, config=CouplingConfig()).permutation)


def test_c2ot_keeps_noise_within_its_condition_where_ot_crosses() -> None:
    x_0, x_1 = pair(12, 12), pair(13, 12)
    label = torch.arange(12) % 2
    conditions = torch.nn.functional.one_hot(label, 2).float()
    config = CouplingConfig(method="c2ot", target_ratio=1e-6)
    kept = assigned(x_0, x_1, config=config, conditions=conditions).permutation
    crossed = assigned(x_0, x_1, config=CouplingConfig()).permutation
    assert not torch.equal(label[crossed], label)
    assert torch.equal(label[kept], label)


def test_the_condition_weight_leaves_the_asked_share_of_exchanges() -> None:
    distance = distances(pair(14, 40), pair(15, 40), config=CouplingConfig())
    apart = condition_distances(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))
    weight = condition_weight(distance, apart, target_ratio=0.05)
    cheaper = (distance + weight * apart < distance.diagonal()[None])[apart > 0]
    assert float(cheaper.double().mean()) == pytest.approx(0.05, abs=2 / 1560)


def test_pooled_conditions_do_not_see_padding() -> None:
    tokens = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, False, False, False], [True] * 5])
    pooled = pooled_conditions(tokens, mask)
    torch.testing.assert_close(pooled[0], tokens[0, :2].mean(0))
    torch.testing.assert_close(pooled[1], tokens[1].mean(0))


def test_the_draws_of_a_sample_count_by_their_mean() -> None:
    x_1, config = pair(16), CouplingConfig(video_weight=0.1)
    draws = [pair(seed) for seed in (17, 18, 19)]
    audio = torch.stack([draw.audio for draw in draws], dim=1).flatten(0, 1)
    x_0 = AVLatents(video=draws[0].video, audio=audio)
    each = [distances(AVLatents(video=x_0.video, audio=d.audio), x_1, config=config) for d in draws]
    together = distances(x_0, x_1, config=config, audio_draws=3)
    torch.testing.assert_close(together, torch.stack(each).mean(0), rtol=1e-5, atol=0)


def test_distances_of_a_part_of_the_noise_are_those_rows() -> None:
    x_0, x_1, config = pair(20), pair(21), CouplingConfig()
    some = AVLatents(video=x_0.video[1:3], audio=x_0.audio[1:3])
    whole = distances(x_0, x_1, config=config, dtype=torch.float64)
    part = distances(some, x_1, config=config, dtype=torch.float64)
    torch.testing.assert_close(part, whole[1:3], rtol=1e-12, atol=0)
