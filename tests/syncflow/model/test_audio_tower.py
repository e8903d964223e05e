import pytest
import torch

from syncflow.model.attention import rotary_frequencies, rotate, rotation
from syncflow.model.audio_tower import AudioTower
from syncflow.model.config import AudioTowerConfig


@pytest.mark.parametrize("norm", ["output", "residual"])
@torch.no_grad()
def test_a_batch_that_is_no_multiple_of_the_clips_is_refused(tools, norm: str):
    model = tools.build(tools.settings(audio={"norm": norm}))
    text, t = tools.prompts(), torch.tensor([0.2, 0.7])
    features = model.video(tools.latents().video, t, text, **tools.size).features
    with pytest.raises(ValueError, match="audio batch 3: expected a multiple of the context's 2"):
        model.audio(tools.normal(3, 20, 6), torch.rand(3), text, features, frame_times=tools.times)


@pytest.mark.parametrize("norm", ["output", "residual"])
@torch.no_grad()
def test_both_norms_keep_numbers_in_bounds_at_depth(tools, norm: str):
    depth = {"depth": 28}
    model = tools.build(tools.settings(video=depth, audio=depth | {"norm": norm}))
    velocity = model(tools.latents(), torch.tensor([0.2, 0.7]), tools.prompts(), **tools.clip).audio
    assert velocity.isfinite().all() and velocity.abs().max() < 100


@torch.no_grad()
def test_when_a_picture_happens_matters_and_not_where_it_stands_in_the_list(tools, same):
    """Features told apart by their times alone: permuting features and times together changes nothing."""
    tower = tools.build(tools.settings()).audio_tower
    x, t = tools.normal(1, 20, 6), torch.tensor([0.5])
    video = [tools.normal(1, 9, 32, seed=layer) for layer in range(2)]
    times, order = torch.linspace(0.5, 19.5, 9), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    found = tower(x, t, video=video, video_positions=times, text=None)
    moved = tower(x, t, video=[each[:, order] for each in video], video_positions=times[order], text=None)
    same(moved, found)
    late = tower(x, t, video=video, video_positions=times + 3, text=None)
    assert not torch.allclose(late, found, atol=1e-3)


@torch.no_grad()
def test_own_time_gives_new_heads_a_logit_that_is_largest_at_no_lag():
    """Of the biases alone: the content of queries and keys is set to nothing."""
    settings = AudioTowerConfig(latent_dim=6, hidden_size=128, depth=1, num_heads=4, own_time=6.0)
    attention = AudioTower(**settings.model_dump()).blocks[0].cross_attention
    positions = torch.arange(100.0)
    turn = rotation(positions, rotary_frequencies(32))
    shape = (1, 100, 4, 32)
    query = rotate(attention.query.bias.view(4, 32).expand(shape), turn)
    key = rotate(attention.key_value.bias[:128].view(4, 32).expand(shape), turn)
    logits = torch.einsum("bnhd,blhd->hnl", query, key) / 32**0.5
    own = logits.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(own[:2], torch.full((2, 100), 6.0))
    lag = (positions[:, None] - positions).abs()
    assert float(logits[:2, lag >= 2].max()) < 5.5 and abs(float(logits[:2, lag > 12].mean())) < 1.0
    assert not logits[2:].any()  # the other heads look anywhere


@pytest.mark.parametrize("gain", [0.1, 1.0])
@torch.no_grad()
def test_each_transformation_adds_its_first_gain(tools, gain: float):
    settings = AudioTowerConfig(latent_dim=6, hidden_size=128, depth=2, num_heads=4, first_gain=gain)
    tower, added = AudioTower(**settings.model_dump()), []

    def note(_: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        added.append(float((output - inputs[0]).pow(2).mean().sqrt()))

    for block in tower.blocks:
        for join in (block.join_self, block.join_cross, block.join_feed):
            join.register_forward_hook(note)
    video = [1000 * tools.normal(1, 9, 128, seed=layer) for layer in range(2)]
    tower(tools.normal(1, 20, 6), torch.tensor([0.5]), video=video, video_positions=torch.rand(9), text=None)
    assert added == pytest.approx([gain] * 6, rel=1e-2)
