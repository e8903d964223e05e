"""The diagonal Gaussian that an encoder gives for each latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from syncflow.errors import UserError

LOGVAR_RANGE = (-30.0, 20.0)
"""Log-variances are clamped to this range (the one that Open-Sora and Stable Diffusion use)."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and log-variance of a posterior, of one shape: `b c t h w` (video) or `b n d` (audio)."""

    mean: Tensor
    logvar: Tensor

    def __post_init__(self) -> None:
        assert self.mean.shape == self.logvar.shape, (self.mean.shape, self.logvar.shape)

    @property
    def mode(self) -> Tensor:
        """The most likely latent: the mean."""
        return self.mean

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw; the same generator state gives the same draw, and gradients pass to both moments."""
        noise = torch.randn(
            self.mean.shape, generator=generator, device=generator.device, dtype=torch.float32
        ).to(self.mean)
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Divergence from the standard normal, nats, averaged over the numbers of each sample: `b`."""
        terms = self.mean.square() + self.logvar.exp() - 1.0 - self.logvar
        return 0.5 * terms.flatten(1).mean(1)

    def normalised(self, *, shift: Tensor, scale: Tensor) -> Moments:
        """The posterior of `(z - shift) / scale`."""
        return Moments(mean=(self.mean - shift) / scale, logvar=self.logvar - 2.0 * scale.abs().log())


def split_moments(both: Tensor, *, dim: int) -> Moments:
    """Float32 moments from a layer's output that holds the means, then the log-variances, along `dim`."""
    mean, logvar = both.float().chunk(2, dim=dim)
    return Moments(mean=mean, logvar=logvar.clamp(*LOGVAR_RANGE))


def check_statistics(name: str, *, mean: Tensor, std: Tensor, width: int) -> None:
    """Refuse what normalising cannot use.

    Args:
        mean: of each latent channel, `d`.
        std: deviation of each latent channel, `d`.

    Raises:
        UserError: not one number a channel, a NaN, or a deviation that is not above zero.
    """
    if tuple(mean.shape) != (width,) or tuple(std.shape) != (width,):
        raise UserError(
            f"{name} latent statistics: mean {list(mean.shape)} and std {list(std.shape)}, expected "
            f"[{width}] each; measure over all but the channels"
        )
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise UserError(
            f"{name} latent statistics: expected finite numbers and std > 0; measure on real clips"
        )
