"""A linear map through a chain of convolutions that ends in group norm, SiLU and a last convolution.

SiLU(z) - SiLU(-z) = z: signals that go in with both signs come out unchanged. A constant of both signs in
each group, large beside the signals, makes the group's deviation known, so that the norm only multiplies:
to where the constants are 1, for what reaches the last convolution decides how far its first updates go.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from syncflow.errors import UserError

Conv = nn.Conv2d | nn.Conv3d
REFERENCE = 12.0  # the constant; signals have unit deviation
UNUSED = 0.1  # what the weights of channels without a signal are multiplied by, before the norm


@dataclass(frozen=True, kw_only=True)
class Link:
    """A convolution, and the kernel `o c ...` (of its own size) that it is to apply to its first c channels.

    Its first o channels become the signals; the next one, where there is room, the constant 1.
    `repeats`: each signal is written so many times, next to each other (into frames, by `DoubleFrames`);
    the kernel may then be `o r c ...`, one for each of them.
    """

    conv: Conv
    kernel: Tensor
    repeats: int = 1

    @property
    def num_inputs(self) -> int:
        return self.kernel.shape[-1 - len(self.conv.kernel_size)]


def at(conv: Conv, matrix: Tensor, *taps: tuple[int, ...]) -> Tensor:
    """Kernel `o c ...` of a convolution's size: the matrix `o c` shared out equally over some taps."""
    kernel = torch.zeros(*matrix.shape, *conv.kernel_size)
    for tap in taps:
        kernel[(..., *tap)] = matrix / len(taps)
    return kernel


def clear(layer: nn.Module) -> None:
    """Zero weights and biases."""
    for parameter in layer.parameters(recurse=False):
        parameter.zero_()


@torch.no_grad()
def set_linear_path(links: Sequence[Link], *, norm: nn.GroupNorm, out: Conv, kernel: Tensor) -> None:
    """Make `out(SiLU(norm(links)))` the product of the links' kernels and `kernel` (`o c ...`, of `out`).

    Raises:
        UserError: the norm's groups have no room for the last link's signals.
    """
    has_constant = False
    for link in links[:-1]:
        has_constant = _write_signals(link, has_constant=has_constant)
    _write_pairs(links[-1], norm=norm, out=out, kernel=kernel, has_constant=has_constant)


def _write(link: Link, row: int, weights: Tensor, *, bias: float = 0.0) -> None:
    rows = slice(row * link.repeats, (row + 1) * link.repeats)
    inputs = weights.shape[-1 - len(link.conv.kernel_size)]
    link.conv.weight[rows] = 0.0
    link.conv.weight[rows, :inputs] = weights
    if link.conv.bias is not None:
        link.conv.bias[rows] = bias


def _constant(link: Link, value: float, *, has_constant: bool) -> tuple[Tensor, float] | None:
    """Weights and bias of a channel of this value: from the bias, or from the constant that came in."""
    weights = torch.zeros(link.num_inputs + 1, *link.conv.kernel_size)
    if link.conv.bias is not None:
        return weights[:-1], value
    if not has_constant or math.prod(link.conv.kernel_size) > 1:
        return None
    weights[-1] = value
    return weights, 0.0


def _write_signals(link: Link, *, has_constant: bool) -> bool:
    """Whether the constant goes on."""
    count = len(link.kernel)
    for row in range(count):
        _write(link, row, link.kernel[row])
    constant = _constant(link, 1.0, has_constant=has_constant)
    if constant is None or (count + 1) * link.repeats > link.conv.out_channels:
        return False
    _write(link, count, constant[0], bias=constant[1])
    return True


def _write_pairs(link: Link, *, norm: nn.GroupNorm, out: Conv, kernel: Tensor, has_constant: bool) -> None:
    count, groups = len(link.kernel), norm.num_groups
    width = norm.num_channels // groups
    if (width - 2) // 2 * groups < count:
        raise UserError(
            f"{norm.num_channels} channels in {groups} norm groups: no room for {count} signals of both signs"
            f" and a constant in each group; set fewer norm groups or more channels"
        )
    constant = _constant(link, REFERENCE, has_constant=has_constant)
    link.conv.weight *= UNUSED
    clear(out)
    for signal in range(count):
        first = signal % groups * width + signal // groups * 2
        for channel, sign in ((first, 1.0), (first + 1, -1.0)):
            _write(link, channel, sign * link.kernel[signal])
            out.weight[: len(kernel), channel] = sign * REFERENCE * kernel[:, signal]
    if constant is None:
        return
    for last in range(width, norm.num_channels + 1, width):
        for channel, sign in ((last - 2, 1.0), (last - 1, -1.0)):
            _write(link, channel, sign * constant[0], bias=sign * constant[1])
    norm.weight.fill_(math.sqrt(2 / width))
