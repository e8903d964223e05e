"""A chain of convolutions, group norm, SiLU and a convolution that together are one linear map."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from syncflow.errors import UserError
from syncflow.training.autoencoder.first_weights.linear_path import Link, at, set_linear_path


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(links: list[Link], norm: nn.GroupNorm, out: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    for link in links:
        x = link.conv(x)
    return out(F.silu(norm(x)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("last_has_bias", [True, False])
@torch.no_grad()
def test_the_path_is_the_product_of_its_kernels(groups: int, last_has_bias: bool) -> None:
    first, last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 16, 1, bias=last_has_bias)
    norm, out = nn.GroupNorm(groups, 16), nn.Conv2d(16, 2, 3, padding=1)
    spread, mix, read = noise(4, 3, 3, 3) / 5, noise(4, 4, seed=1) / 2, noise(2, 4, seed=2)
    links = [Link(conv=first, kernel=spread), Link(conv=last, kernel=at(last, mix, (0, 0)))]
    set_linear_path(links, norm=norm, out=out, kernel=at(out, read, (1, 1)))
    x = noise(5, 3, 12, 12, seed=3)
    wanted = torch.einsum("oc,bchw->bohw", read @ mix, F.conv2d(x, spread, padding=1))
    error = run(links, norm, out, x) - wanted
    assert error.std() < 0.05 * wanted.std()


@torch.no_grad()
def test_channels_that_are_written_next_to_each_other_have_kernels_of_their_own() -> None:
    first, out, norm = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 3, 1), nn.GroupNorm(1, 8)
    last = nn.Conv2d(8, 8, 1)
    parts = torch.stack((torch.eye(3), 2 * torch.eye(3)), dim=1)[..., None, None]  # o r c 1 1
    links = [
        Link(conv=first, kernel=parts, repeats=2),
        Link(conv=last, kernel=at(last, torch.eye(3), (0, 0))),
    ]
    set_linear_path(links, norm=norm, out=out, kernel=at(out, torch.eye(3), (0, 0)))
    x = noise(1, 3, 8, 8)
    pairs = first(x).unflatten(1, (-1, 2))  # b c r h w
    assert torch.allclose(pairs[:, :3, 0], x) and torch.allclose(pairs[:, :3, 1], 2 * x)
    assert torch.equal(pairs[:, 3], torch.ones(1, 2, 8, 8))


@torch.no_grad()
def test_a_picture_of_half_the_contrast_comes_out_with_half_of_it() -> None:
    """The norm alone would take away how strong a picture is."""
    conv, norm, out = nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 3, 1)
    links = [Link(conv=conv, kernel=at(conv, torch.eye(3), (0, 0)))]
    set_linear_path(links, norm=norm, out=out, kernel=at(out, torch.eye(3), (0, 0)))
    x = noise(1, 3, 8, 8)
    whole, half = run(links, norm, out, x), run(links, norm, out, x / 2)
    assert torch.allclose(half, whole / 2, atol=0.05)


def test_no_room_in_the_groups_is_refused_with_the_remedy() -> None:
    conv, norm, out = nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 3, 1)
    links = [Link(conv=conv, kernel=at(conv, torch.eye(3), (0, 0)))]
    with pytest.raises(
        UserError, match=r"8 channels in 4 norm groups: no room for 3 signals.*fewer norm groups"
    ):
        set_linear_path(links, norm=norm, out=out, kernel=at(out, torch.eye(3), (0, 0)))
