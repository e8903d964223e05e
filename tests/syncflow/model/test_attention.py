import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syncflow.model.attention import (
    CrossAttention,
    SelfAttention,
    rotary_frequencies,
    rotate,
    rotation,
)


@settings(deadline=None, max_examples=25)
@given(a=st.floats(-50, 50), b=st.floats(-50, 50), shift=st.floats(-50, 50))
def test_rotated_products_depend_on_the_difference_of_positions_only(a: float, b: float, shift: float):
    frequencies = rotary_frequencies(8)
    query, key = torch.randn(2, 1, 1, 8, generator=torch.Generator().manual_seed(1))

    def product(first: float, second: float) -> torch.Tensor:
        turned = (
            rotate(each, rotation(torch.tensor([at]), frequencies))
            for each, at in ((query, first), (key, second))
        )
        return torch.mul(*turned).sum()

    torch.testing.assert_close(product(a, b), product(a + shift, b + shift), rtol=1e-3, atol=1e-3)


def test_position_zero_turns_nothing_and_lengths_are_kept():
    x = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rotate(x, rotation(torch.zeros(5), rotary_frequencies(8))), x)
    turned = rotate(x, rotation(torch.arange(5) * 1.7, rotary_frequencies(8)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


@torch.no_grad()
def test_groups_do_not_meet(tools):
    attention = SelfAttention(16, num_heads=2)
    tools.randomise(attention)
    x = tools.normal(2, 5, 3, 16)
    turn = rotation(torch.arange(5), rotary_frequencies(8))
    together = attention(x, rotation=turn)
    for group in range(3):
        alone = attention(x[:, :, group : group + 1], rotation=turn)
        torch.testing.assert_close(together[:, :, group : group + 1], alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cross_attention_is_over_valid_tokens_only(tools):
    attention = CrossAttention(16, num_heads=2)
    tools.randomise(attention)
    x, context = tools.normal(1, 4, 16), tools.normal(1, 6, 16, seed=1)
    mask = torch.tensor([True, True, False, True, False, False])
    masked = attention(x, context, mask=mask[None, None, None])
    torch.testing.assert_close(masked, attention(x, context[:, mask]), rtol=1e-5, atol=1e-5)


def test_a_turn_is_the_same_in_every_form():
    x = torch.randn(2, 5, 3, 2, 8, generator=torch.Generator().manual_seed(0))
    by = rotation(torch.arange(5) * 1.7, rotary_frequencies(8))
    compiled = torch.compile(rotate, backend="eager", fullgraph=True)  # takes the form of a GPU
    torch.testing.assert_close(rotate(x, by), compiled(x, by), rtol=1e-6, atol=1e-6)
    exact = rotate(x.double(), by)
    torch.testing.assert_close(rotate(x, by), exact.float(), rtol=1e-5, atol=1e-6)
    every_second = x[..., ::2, :]  # not contiguous
    torch.testing.assert_close(rotate(every_second, by), exact[..., ::2, :].float(), rtol=1e-5, atol=1e-6)
