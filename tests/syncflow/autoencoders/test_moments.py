import pytest
import torch

from syncflow.autoencoders.moments import LOGVAR_RANGE, Moments, split_moments


def moments(seed: int = 0) -> Moments:
    both = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(seed))
    return Moments(mean=both[0], logvar=both[1])


def test_the_same_generator_state_gives_the_same_draw():
    first, second = (moments().sample(torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, moments().sample(torch.Generator().manual_seed(8)))


def test_draws_have_the_mean_and_the_deviation_of_the_moments():
    one = Moments(mean=torch.full((200_000,), 3.0), logvar=torch.full((200_000,), 2.0).log())
    draws = one.sample(torch.Generator().manual_seed(0))
    assert draws.mean().item() == pytest.approx(3.0, abs=0.02)
    assert draws.var().item() == pytest.approx(2.0, rel=0.02)


def test_the_gradient_passes_to_both_moments():
    mean, logvar = torch.zeros(1, 4, requires_grad=True), torch.zeros(1, 4, requires_grad=True)
    Moments(mean=mean, logvar=logvar).sample(torch.Generator().manual_seed(0)).square().sum().backward()
    assert mean.grad is not None and mean.grad.abs().min() > 0
    assert logvar.grad is not None and logvar.grad.abs().min() > 0


def test_kl_is_zero_for_the_standard_normal_and_torchs_elsewhere():
    assert torch.equal(Moments(mean=torch.zeros(3, 4), logvar=torch.zeros(3, 4)).kl(), torch.zeros(3))
    ours = moments()
    posterior = torch.distributions.Normal(ours.mean, (0.5 * ours.logvar).exp())
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    expected = torch.distributions.kl_divergence(posterior, standard).flatten(1).mean(1)
    assert torch.allclose(ours.kl(), expected, atol=1e-6)


def test_normalised_moments_draw_the_normalised_draw():
    shift, scale = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 3.0, 2.0])
    raw = moments().sample(torch.Generator().manual_seed(1))
    drawn = moments().normalised(shift=shift, scale=scale).sample(torch.Generator().manual_seed(1))
    assert torch.allclose(drawn, (raw - shift) / scale, atol=1e-6)


def test_log_variance_is_clamped_and_results_are_float32():
    low, high = LOGVAR_RANGE
    split = split_moments(torch.tensor([[0.0, 0.0, -1e4, 1e4]], dtype=torch.float16), dim=1)
    assert split.logvar.tolist() == [[low, high]]
    assert split.mean.dtype == split.logvar.dtype == torch.float32
