"""Discriminators: what they see, and which way their losses push."""

import pytest
import torch

from syncflow.training.autoencoder.discriminator import (
    Judgement,
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)


def judgement(logit: float, feature: float = 1.0) -> list[Judgement]:
    return [Judgement(logits=torch.full((2, 1, 4, 3), logit), features=[torch.full((2, 5, 4, 3), feature)])]


@pytest.fixture(scope="module")
def discriminator() -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return MultiScaleDiscriminator(windows=(256, 64), filters=4)


def noise(seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(2, 2400, generator=torch.Generator().manual_seed(seed))


def test_there_is_a_judgement_for_each_window_length(discriminator: MultiScaleDiscriminator) -> None:
    found = discriminator(noise(0))
    assert len(found) == 2 and all(len(f.features) == 5 for f in found)
    # 2400 / 64 + 1 frames; 129 bands: 128 after the first layer, then halved three times
    assert found[0].logits.shape == (2, 1, 38, 16) and found[1].logits.shape[2] == 151


def test_hinge_is_zero_beyond_the_margins_and_grows_within() -> None:
    assert discriminator_loss(judgement(1.5), judgement(-1.5)) == 0
    assert discriminator_loss(judgement(0.0), judgement(0.0)) == 2
    assert discriminator_loss(judgement(-1.0), judgement(1.0)) == 4


def test_the_decoder_gains_by_being_taken_for_real() -> None:
    assert adversarial_loss(judgement(2.0)) < adversarial_loss(judgement(-2.0))


def test_features_match_only_what_is_the_same(discriminator: MultiScaleDiscriminator) -> None:
    x, y = discriminator(noise(0)), discriminator(noise(1))
    assert feature_matching_loss(x, x) == 0 and feature_matching_loss(x, y) > 0.05


def test_feature_matching_is_relative_and_leaves_the_real_side_alone() -> None:
    assert torch.isclose(
        feature_matching_loss(judgement(0, 1.0), judgement(0, 1.5)),
        feature_matching_loss(judgement(0, 100.0), judgement(0, 150.0)),
    )
    real = [Judgement(logits=torch.zeros(1), features=[torch.ones(1, 2, 3, 4, requires_grad=True)])]
    made = [Judgement(logits=torch.zeros(1), features=[torch.zeros(1, 2, 3, 4, requires_grad=True)])]
    feature_matching_loss(real, made).backward()
    assert real[0].features[0].grad is None and made[0].features[0].grad is not None


def test_it_learns_to_tell_noise_from_a_tone() -> None:
    torch.manual_seed(0)
    subject = MultiScaleDiscriminator(windows=(256, 64), filters=4)
    optimizer = torch.optim.AdamW(subject.parameters(), lr=1e-2, betas=(0.5, 0.9))
    tone = 0.1 * torch.sin(torch.arange(2400) * 0.3).expand(2, -1)
    first = last = float("nan")
    for step in range(30):
        loss = discriminator_loss(subject(tone), subject(noise(step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert first > 1.5 and last < 1.0
