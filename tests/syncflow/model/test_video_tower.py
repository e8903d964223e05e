import pytest
import torch

from syncflow.model.embeddings import patchify, unpatchify
from syncflow.model.video_tower import VideoTower

TIMES = torch.tensor([0.2, 0.7])


def run(tower: VideoTower, x: torch.Tensor, tools, *, pixels: tuple[int, int] = (64, 64)):
    batch = tools.prompts(len(x))
    text = tower.prepare_text(batch.tokens, batch.mask, batch.dropped)
    return tower(x, TIMES[: len(x)], text, fps=16.0, height=pixels[0], width=pixels[1])


def tower_of(tools, **choices) -> VideoTower:
    return tools.build(tools.settings(video=choices)).video_tower


@pytest.mark.parametrize("pixels", [(128, 128), (256, 256), (512, 512), (128, 256), (360, 200)])
@torch.no_grad()
def test_any_size_and_aspect(tools, pixels: tuple[int, int]):
    rows, columns = pixels[0] // 8, pixels[1] // 8  # 45 x 25 has odd sides
    x = tools.normal(1, 4, 2, rows, columns)
    found = run(tower_of(tools), x, tools, pixels=pixels)
    assert found.velocity.shape == x.shape and found.velocity.isfinite().all()
    assert [each.shape for each in found.features] == [(1, 2, 1, 32)] * 2


@pytest.mark.parametrize("frames", [1, 3, 9, 17])
@torch.no_grad()
def test_any_number_of_frames(tools, frames: int):
    x = tools.normal(1, 4, frames, 4, 6)
    assert run(tower_of(tools), x, tools, pixels=(32, 48)).velocity.shape == x.shape


@torch.no_grad()
def test_an_odd_side_is_padded_with_zeros(tools, same):
    tower, x = tower_of(tools), tools.normal(1, 4, 3, 5, 8)
    padded = torch.cat((x, torch.zeros(1, 4, 3, 1, 8)), dim=3)
    odd, even = (run(tower, each, tools, pixels=(40, 64)).velocity for each in (x, padded))
    same(odd, even[:, :, :, :5])


@pytest.mark.parametrize("patch", [(1, 2, 2), (2, 2, 4), (1, 1, 1)])
def test_unpatchify_puts_every_number_of_a_patch_in_its_place(tools, patch: tuple[int, int, int]):
    video = tools.normal(2, 3, 4, 6, 8)
    patches = patchify(video, patch).unflatten(-1, (3, -1)).transpose(-1, -2).flatten(-2)
    assert torch.equal(unpatchify(patches, patch, (4, 6, 8)), video)


@pytest.mark.parametrize("tap", ["block", "attention"])
@torch.no_grad()
def test_pooled_features_are_means_of_all_features(tools, same, tap: str):
    x, found = tools.normal(2, 4, 3, 8, 16), {}
    for form in ("spatial", "frame", "grid"):
        tower = tower_of(tools, tap=tap, feature_tokens=form, feature_grid=2)
        found[form] = run(tower, x, tools, pixels=(64, 128)).features
    for whole, frame, grid in zip(found["spatial"], found["frame"], found["grid"], strict=True):
        assert whole.shape == (2, 3, 32, 32) and frame.shape == (2, 3, 1, 32) and grid.shape == (2, 3, 4, 32)
        same(frame, whole.mean(2, keepdim=True))
        cells = (
            whole.unflatten(2, (2, 2, 2, 4)).mean(dim=(3, 5)).flatten(2, 3)
        )  # 4 x 8 patches in 2 x 2 cells
        same(grid, cells)


@torch.no_grad()
def test_the_tap_changes_the_features_and_not_the_velocity(tools):
    x = tools.normal(1, 4, 3, 8, 8)
    block, attention = (run(tower_of(tools, tap=tap), x, tools) for tap in ("block", "attention"))
    assert torch.equal(block.velocity, attention.velocity)
    assert not torch.allclose(block.features[0], attention.features[0])


@torch.no_grad()
def test_time_fps_size_and_text_each_matter(tools):
    tower, x, text = tower_of(tools), tools.normal(1, 4, 3, 8, 8), tools.prompts(1)
    prepared = tower.prepare_text(text.tokens, text.mask, text.dropped)
    other = tower.prepare_text(-text.tokens, text.mask, text.dropped)
    found = tower(x, TIMES[:1], prepared, fps=16.0, height=64, width=64).velocity
    changed = [
        tower(x, TIMES[1:], prepared, fps=16.0, height=64, width=64),
        tower(x, TIMES[:1], prepared, fps=24.0, height=64, width=64),
        tower(x, TIMES[:1], prepared, fps=16.0, height=128, width=64),
        tower(x, TIMES[:1], other, fps=16.0, height=64, width=64),
    ]
    assert not any(torch.allclose(found, each.velocity) for each in changed)


def test_half_of_the_head_is_never_read(tools):
    """Open-Sora's second half of channels, sigma, is dropped."""
    tower = tower_of(tools)
    run(tower, tools.normal(2, 4, 3, 8, 8), tools).velocity.sum().backward()
    unread = tower.head.linear.weight.grad.unflatten(0, (4, 8))[:, 4:]
    assert not unread.any()
