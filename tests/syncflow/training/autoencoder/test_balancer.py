"""The gradient balancer: shares of the update do not depend on the scale of a loss."""

import torch
from torch import Tensor

from syncflow.training.autoencoder.balancer import Balancer


def losses(at: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
    return {"near": at.square().mean(), "far": scale * (at - 3.0).abs().sum()}


def point() -> Tensor:
    return torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_the_scale_of_a_loss_changes_nothing() -> None:
    weights = {"near": 1.0, "far": 2.0}
    small, large = (
        Balancer(("near", "far")).gradient(losses(at := point(), scale=scale), weights, at)
        for scale in (1.0, 1e4)
    )
    assert torch.allclose(small, large, rtol=1e-4, atol=1e-7)


def test_one_loss_alone_gives_each_sample_the_total_norm_on_average() -> None:
    at = point()
    found = Balancer(("near", "far"), total_norm=0.5).gradient(
        {"near": losses(at)["near"]}, {"near": 7.0}, at
    )
    assert torch.allclose(found.norm(dim=1).mean(), torch.tensor(0.5))
    assert torch.nn.functional.cosine_similarity(found.flatten(), at.flatten(), dim=0) > 0.9999


def test_weights_are_shares() -> None:
    at = point()
    balanced = Balancer(("near", "far")).gradient(losses(at), {"near": 1.0, "far": 3.0}, at)
    alone = [
        Balancer(("near", "far")).gradient({name: losses(at)[name]}, {name: 1.0}, at)
        for name in ("near", "far")
    ]
    assert torch.allclose(balanced, 0.25 * alone[0] + 0.75 * alone[1], atol=1e-6)


def test_norms_are_averaged_over_steps() -> None:
    balancer = Balancer(("near",), decay=0.5)
    for scale in (1.0, 4.0):
        at = torch.ones(1, 1, requires_grad=True)
        found = balancer.gradient({"near": scale * at.sum()}, {"near": 1.0}, at)
    # the norms are 1, then 4; their decaying mean is (0.5 * 1 + 4) / 1.5 = 3
    assert torch.allclose(found, torch.tensor([[4.0 / 3.0]]))


def test_a_loss_that_comes_later_has_its_full_share_at_once() -> None:
    balancer, weights = Balancer(("near", "far")), {"near": 1.0, "far": 1.0}
    for _ in range(5):
        at = point()
        balancer.gradient({"near": losses(at)["near"]}, weights, at)
    at = point()
    both = balancer.gradient(losses(at, scale=100.0), weights, at)
    fresh = Balancer(("near", "far")).gradient(losses(at, scale=100.0), weights, at)
    assert torch.allclose(both, fresh, rtol=1e-4, atol=1e-7)


def test_a_loss_without_gradient_does_not_make_nan() -> None:
    at = torch.zeros(2, 3, requires_grad=True)
    found = Balancer(("near",)).gradient({"near": at.square().sum()}, {"near": 1.0}, at)
    assert torch.equal(found, torch.zeros(2, 3))
