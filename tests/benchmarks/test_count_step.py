"""Counted kernels and bytes are those of computations that can be counted by hand, and those of blocks."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture
def tools(repository: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import count_step
    import counted_step
    import counting

    return SimpleNamespace(counting=counting, step=counted_step, blocks=count_step.Blocks)


def test_passes_products_and_attention_by_hand(tools) -> None:
    eager = tools.counting.eager
    x = torch.empty(4, 8, dtype=torch.float32, device="meta", requires_grad=True)
    forward, backward = eager(lambda: x.sin(), autocast=False)
    assert (forward.passes, forward.bytes_of_passes) == (1, 2 * 4 * 8 * 4)  # reads x, writes its sine
    passes, moved = backward.passes, backward.bytes_of_passes
    assert (passes, moved) == (2, 5 * 4 * 8 * 4)  # cos(x); that times the gradient
    assert eager(lambda: x.view(8, 4).t(), autocast=False)[0].kernels == 0

    weight = torch.empty(16, 8, device="meta", requires_grad=True)
    forward, backward = eager(lambda: F.linear(x, weight), autocast=False)
    assert (forward.products, forward.passes, backward.products) == (1, 0, 2)
    given = x.detach()
    forward, _ = eager(lambda: F.linear(given, weight) + F.linear(given, weight), autocast=True)
    assert (forward.products, forward.passes) == (2, 4)  # casts: its input twice, the weight once; the sum

    query = torch.empty(1, 2, 4, 8, device="meta", requires_grad=True)
    forward, backward = eager(lambda: F.scaled_dot_product_attention(query, query, query), autocast=False)
    assert (forward.attentions, forward.passes, backward.attentions) == (1, 0, 1)


def test_a_pair_of_blocks_passes_over_less_in_bfloat16_and_least_in_one_kernel(tools) -> None:
    def passes(*, half: bool, kernel: bool) -> float:
        blocks = tools.blocks(144, 2, device="meta", half=half, batch=1, side=8, text_tokens=12)
        if kernel:
            blocks.temporal.self_attention.kernel = tools.counting.one_kernel
        blocks.settle()
        return sum(map(blocks.units, tools.counting.eager(blocks.pair, autocast=not half)))

    plain, one_kernel = (passes(half=True, kernel=kernel) for kernel in (False, True))
    assert one_kernel < 0.8 * plain < passes(half=False, kernel=False)


def test_a_step_of_stage_audio_waits_nowhere_and_its_kernels_grow_with_its_layers(tools) -> None:
    found = [tools.step.audio_step(depth, batch=2, text_tokens=12) for depth in (1, 2, 3)]
    assert all(places == [] for _, places in found)
    first, second, third = (counts.kernels for counts, _ in found)
    assert third - second == second - first > 100


@pytest.mark.slow
def test_what_is_compiled_is_counted_by_its_fused_kernels(tools) -> None:
    x = torch.randn(64, 64, requires_grad=True)
    forward, backward = tools.counting.compiled(lambda: (x.sin() * 2 + 1) @ x, autocast=False)
    assert (forward.passes, forward.products) == (1, 1) and forward.bytes_of_passes == 2 * 64 * 64 * 4
    assert backward.products == 2 and backward.passes >= 1


def test_a_product_in_float8_is_one_product_and_its_input_is_passed_over_twice(tools) -> None:
    from syncflow.model.float8 import Float8Linear

    with torch.device("meta"):
        layer, x = Float8Linear(torch.nn.Linear(64, 32)), torch.empty(128, 64, dtype=torch.bfloat16)
    counts, _ = tools.counting.eager(lambda: layer(x), autocast=False)
    a_row = (
        4 + 2 * 4 + 2 * 4 + 4
    )  # the largest number; over 448 and clamped, read and written; the scale again
    assert (counts.products, counts.passes) == (1, 4)
    assert counts.bytes_of_passes == 128 * (64 * (2 + 2 + 1) + a_row)
