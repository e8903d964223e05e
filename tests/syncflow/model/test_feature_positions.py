"""Where the features of a video stand in time, as the audio tower hears them."""

import pytest
import torch

from syncflow.autoencoders.spans import frame_times
from syncflow.model.dual_dit import DualDiT


def test_features_stand_in_the_middle_of_the_frames_they_cover(model: DualDiT, tools):
    middles = [0.5, 3, 7, 11, 15, 18.5, 22, 26, 30]  # pixel frames, at 16 a second
    torch.testing.assert_close(model.feature_positions(tools.times), torch.tensor(middles) / 16 * 50)


def test_features_of_other_times_than_theirs_are_refused(model: DualDiT, tools):
    x, t, text = tools.latents(), torch.tensor([0.2, 0.7]), tools.prompts()
    with pytest.raises(ValueError, match="frame_times of 5 latent frames, features of 9"):
        model(x, t, text, **tools.size, frame_times=tools.times[:5])


def test_the_tokens_of_a_feature_stand_at_the_pixel_frames_that_it_covers(model: DualDiT):
    times = frame_times([(0, 0), (1, 4), (5, 8)], fps=12.5)  # 4 audio latents a pixel frame
    parts = model.feature_positions(times, parts=4)
    expected = [0.125, 0.375, 0.625, 0.875, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    torch.testing.assert_close(parts, torch.tensor(expected) * 4)


@torch.no_grad()
@pytest.mark.parametrize(("feature_tokens", "places"), [("frame", 1), ("spatial", 16)])
def test_each_token_of_a_feature_is_heard_at_its_own_time(tools, feature_tokens: str, places: int):
    model = tools.build(tools.settings(video={"feature_tokens": feature_tokens}, tokens=4))
    x_t, t, heard = tools.latents(), torch.tensor([0.3, 0.8]), {}
    hook = model.audio_tower.register_forward_pre_hook(
        lambda _, __, given: heard.update(given), with_kwargs=True
    )
    made = model(x_t, t, tools.prompts(), **tools.clip)
    hook.remove()
    positions = heard["video_positions"].unflatten(0, (9, places, 4))  # frames, places, tokens
    assert heard["video"][0].shape[1] == 9 * places * 4
    assert torch.equal(positions, positions[:, :1].expand_as(positions))  # the same at all places
    assert bool((positions[:, 0].flatten().diff() > 0).all())
    first, second = heard["video"][0].unflatten(1, (-1, 4))[:, :, :2].unbind(2)
    assert not torch.allclose(first, second) and bool(made.audio.isfinite().all())
