"""The Triton kernel beside the separate steps, in a process in which Triton interprets (TRITON_INTERPRET)."""

import copy

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from syncflow.model.attention import EPS, SelfAttention, rotary_frequencies, rotate, rotation
from syncflow.model.temporal_attention import plain
from syncflow.model.temporal_kernel import attend


def results_and_gradients(n: int, g: int, size: int) -> None:
    generator = torch.Generator().manual_seed(n)
    qkv = torch.randn(1, n, g, 3, 2, size, generator=generator, requires_grad=True)
    norms = [(1 + 0.3 * torch.randn(size, generator=generator)).requires_grad_() for _ in range(2)]
    turn = rotation(torch.arange(n), rotary_frequencies(size))
    query, key, value = qkv.unbind(3)
    normed = [F.rms_norm(x, (size,), by, EPS) for x, by in zip((query, key), norms, strict=True)]
    expected = plain(*(rotate(x, turn) for x in normed), value)
    found = attend(qkv, *norms, *turn, eps=EPS)
    assert_close(found, expected, rtol=1e-5, atol=2e-6)
    weight = torch.randn(expected.shape, generator=generator)
    ours, theirs = (torch.autograd.grad(each, (qkv, *norms), weight) for each in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5)


def blocks() -> None:
    torch.manual_seed(0)
    block = SelfAttention(32, num_heads=2)
    with_kernel = copy.deepcopy(block)
    lengths: list[int] = []

    def noted(qkv: torch.Tensor, *rest: torch.Tensor, eps: float) -> torch.Tensor:
        lengths.append(qkv.shape[1])
        return attend(qkv, *rest, eps=eps)

    with_kernel.kernel = noted
    for n in (9, 17):  # longer than a tile: the plain way
        x, turn = torch.randn(2, n, 3, 32), rotation(torch.arange(n), rotary_frequencies(16))
        assert_close(with_kernel(x, rotation=turn), block(x, rotation=turn), rtol=1e-5, atol=2e-6)
    x = torch.randn(2, 9, 3, 32)
    assert_close(with_kernel(x), block(x))  # along space, where nothing turns
    assert lengths == [9]


if __name__ == "__main__":
    for sizes in ((9, 10, 72), (5, 3, 8), (16, 2, 32), (1, 1, 6)):
        results_and_gradients(*sizes)
    blocks()
    print("equal")
