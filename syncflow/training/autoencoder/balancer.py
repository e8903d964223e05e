"""Balance losses by their gradients: a weight is then the share of the update, whatever a loss's scale.

After EnCodec (arXiv:2210.13438, Section 3.4, equation 5).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class Balancer(nn.Module):
    """Scales the gradient of each loss, at the reconstruction, to its share of `total_norm`.

    The norm of a loss's gradient is that of a sample, averaged over the batch and over past steps.

    Args:
        names: of all losses that will ever come; some may be missing in a step.
        decay: of the averages over steps.
        total_norm: size of the sum, were all gradients of one direction.
        worker_mean: mean of a tensor over the workers, so that all scale alike.
    """

    sums: Tensor  # of norms, decaying
    counts: Tensor  # of steps, decaying

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        decay: float = 0.999,
        total_norm: float = 1.0,
        worker_mean: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ) -> None:
        super().__init__()
        self.names, self.decay, self.total_norm = names, decay, total_norm
        self.worker_mean = worker_mean
        self.register_buffer("sums", torch.zeros(len(names)))
        self.register_buffer("counts", torch.zeros(len(names)))

    def gradient(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], at: Tensor) -> Tensor:
        """The balanced gradient of `losses`, scalars that depend on `at` (`b ...`): of the shape of `at`.

        The weights are shares among the losses of this step; the averages move by one step.
        """
        at_each = {name: torch.autograd.grad(loss, at, retain_graph=True)[0] for name, loss in losses.items()}
        self._observe({name: found.flatten(1).norm(dim=1).mean() for name, found in at_each.items()})
        total = sum(weights[name] for name in losses)
        result = torch.zeros_like(at)
        for name, found in at_each.items():
            index = self.names.index(name)
            norm = self.sums[index] / self.counts[index]
            result += found * (self.total_norm * weights[name] / total / norm.clamp_min(1e-12))
        return result

    @torch.no_grad()
    def _observe(self, norms: Mapping[str, Tensor]) -> None:
        means = self.worker_mean(torch.stack(list(norms.values())))
        for name, norm in zip(norms, means, strict=True):
            index, good = self.names.index(name), norm.isfinite()  # what is not stays out of the averages
            self.sums[index] = torch.where(good, self.decay * self.sums[index] + norm, self.sums[index])
            self.counts[index] = torch.where(good, self.decay * self.counts[index] + 1.0, self.counts[index])
