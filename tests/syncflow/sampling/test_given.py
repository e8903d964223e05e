"""Picture or sound given whole or in part: video to sound, in-painting, continuation, editing."""

import numpy as np
import pytest
import torch

from syncflow.errors import UserError
from syncflow.flow.config import SolverConfig
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.sampling.spans import kept, parse_keep

PROMPT = "a drumstick hits metal"
FRAMES = 32  # 9 latent frames, 100 audio latents
STEPS = 6


def make(pipeline: SyncFlowPipeline, prompt=PROMPT, **request):
    settings = {"num_inference_steps": STEPS, "output_type": "latent", "seed": 5, "num_frames": FRAMES}
    return pipeline(prompt, **{**settings, **request})


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    return torch.randn(1, 4, 9, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def audio() -> torch.Tensor:
    return torch.randn(1, 100, 8, generator=torch.Generator().manual_seed(2))


class Counted:
    """Counts the forwards of a module and their batches."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.batches: list[int] = []
        self.handle = module.register_forward_pre_hook(lambda _, inputs: self.batches.append(len(inputs[0])))


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "ab2"])
def test_video_features_of_several_steps_at_once_give_the_sound_of_step_by_step(
    pipeline: SyncFlowPipeline, video: torch.Tensor, method: str
) -> None:
    solver = SolverConfig(steps=STEPS, method=method, spacing="cosine")
    sounds, batches = [], []
    for steps in (1, 4, 50):
        counted = Counted(pipeline.dual_dit.video_tower)
        sounds.append(make(pipeline, video=video, solver=solver, video_steps_per_batch=steps).audio)
        counted.handle.remove()
        batches.append(counted.batches)
    close(sounds[0], sounds[1])
    close(sounds[0], sounds[2])
    times = {"euler": STEPS, "ab2": STEPS, "midpoint": 2 * STEPS, "heun": STEPS + 1}[method]
    assert batches[0] == [2] * times  # both passes of guidance; heun asks for a time twice
    assert batches[1] == [8] * (times // 4) + ([2 * (times % 4)] if times % 4 else [])
    assert batches[2] == [2 * times]


def test_features_ahead_are_those_of_the_pass_that_asks_for_them(
    pipeline: SyncFlowPipeline, video: torch.Tensor
) -> None:
    interval = {"guidance_interval": (0.3, 0.8), "video": video}
    alone, ahead = (make(pipeline, video_steps_per_batch=n, **interval).audio for n in (1, 5))
    close(alone, ahead)


def test_a_clean_picture_is_seen_once_and_heard_at_every_step(
    pipeline: SyncFlowPipeline, video: torch.Tensor
) -> None:
    """The sound does not depend on the picture's noise then, and is another one than the noised path's."""
    counted = Counted(pipeline.dual_dit.video_tower)
    clean = make(pipeline, video=video, clean_video=True, video_steps_per_batch=4)
    counted.handle.remove()
    assert counted.batches == [2]  # both passes of guidance
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(9))
    close(make(pipeline, video=video, clean_video=True, latents=noise).audio, clean.audio)
    assert not torch.allclose(make(pipeline, video=video).audio, clean.audio, atol=1e-3)
    assert torch.equal(clean.frames, video)


def test_a_picture_made_first_is_the_joint_one_and_its_sound_is_that_of_the_picture_given(
    pipeline: SyncFlowPipeline,
) -> None:
    steps: list[dict] = []
    first = make(
        pipeline, clean_video=True, callback_on_step_end=lambda _, n, t, state: steps.append({"n": n} | state)
    )
    joint = make(pipeline)
    assert torch.equal(first.frames, joint.frames)
    assert not torch.allclose(first.audio, joint.audio, atol=1e-3)
    close(make(pipeline, video=first.frames, clean_video=True).audio, first.audio)
    assert [step["n"] for step in steps] == [*range(STEPS), *range(STEPS)]
    assert [step["audio_latents"] is None for step in steps] == [True] * STEPS + [False] * STEPS


def test_the_sound_of_a_whole_video_is_that_of_holding_every_latent_frame(
    pipeline: SyncFlowPipeline, video: torch.Tensor
) -> None:
    """The short way (sound alone) against the general one (both towers, every part held)."""
    whole = make(pipeline, video=video)
    audio = torch.zeros(1, 100, 8)
    parts = make(pipeline, video=video, audio=audio, keep_audio="none", keep_video=[(0, 1.5), (1.5, 2)])
    close(whole.audio, parts.audio)
    assert torch.equal(whole.frames, video) and torch.equal(parts.frames, video)


def test_what_is_kept_comes_back_and_the_rest_is_made(
    pipeline: SyncFlowPipeline, video: torch.Tensor, audio: torch.Tensor
) -> None:
    found = make(
        pipeline, video=video, audio=audio, keep_video=[(0, 0.32), (1.5, 2)], keep_audio=[(0.5, 1.25)]
    )
    # latent frames show the pixel frames 0 | 1-4 | 5-8 | ... | 24-27 | 28-31 at 16 a second
    frames = torch.tensor([True, True, False, False, False, False, False, True, True])
    assert torch.equal(found.frames[:, :, frames], video[:, :, frames])
    assert not torch.isclose(found.frames[:, :, ~frames], video[:, :, ~frames], atol=1e-3).all(dim=1).any()
    sounds = torch.zeros(100, dtype=torch.bool)
    sounds[25:62] = True  # 0.5 to 1.24 s at 50 latents a second
    assert torch.equal(found.audio[:, sounds], audio[:, sounds])
    assert not torch.isclose(found.audio[:, ~sounds], audio[:, ~sounds], atol=1e-3).all(dim=2).any()


def test_a_whole_picture_with_the_sound_in_part(
    pipeline: SyncFlowPipeline, video: torch.Tensor, audio: torch.Tensor
) -> None:
    found = make(pipeline, video=video, audio=audio, keep_audio=[(0, 1)])
    assert torch.equal(found.frames, video) and torch.equal(found.audio[:, :50], audio[:, :50])
    plain = make(pipeline, video=video)
    assert not torch.allclose(found.audio[:, 50:], plain.audio[:, 50:], atol=1e-3)


def test_a_given_sound_never_changes_the_picture(pipeline: SyncFlowPipeline, audio: torch.Tensor) -> None:
    reference = make(pipeline).frames
    close(make(pipeline, audio=audio, keep_audio=[(0, 1)]).frames, reference)
    whole = make(pipeline, audio=audio)
    close(whole.frames, reference)
    assert torch.equal(whole.audio, audio)


def test_a_clip_goes_on_from_its_first_frames_and_sound(pipeline: SyncFlowPipeline) -> None:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 255, (17, 32, 32, 3), dtype=np.uint8)
    sound = generator.uniform(-0.3, 0.3, 51_000).astype(np.float32)
    found = make(pipeline, video=frames, audio=sound)
    again = make(pipeline, video=frames, audio=sound, prompt="rain", seed=6)
    assert torch.equal(found.frames[:, :, :5], again.frames[:, :, :5])  # the first 17 frames
    assert torch.equal(found.audio[:, :53], again.audio[:, :53])  # 53 whole latents in 51,000 samples
    assert not torch.isclose(found.frames[:, :, 5:], again.frames[:, :, 5:], atol=1e-3).all(dim=1).any()
    assert not torch.isclose(found.audio[:, 53:], again.audio[:, 53:], atol=1e-3).all(dim=2).any()


def test_strength_leads_from_the_given_clip_to_a_new_one(
    pipeline: SyncFlowPipeline, video: torch.Tensor, audio: torch.Tensor
) -> None:
    new = make(pipeline, guidance_scale=1.0)
    distances = []
    for strength in (0.01, 0.5, 1.0):
        found = make(
            pipeline,
            video=video,
            audio=audio,
            keep_video="none",
            keep_audio="none",
            strength=strength,
            guidance_scale=1.0,
        )
        distances.append((float((found.frames - video).norm()), float((found.audio - audio).norm())))
        if strength == 1.0:
            assert torch.equal(found.frames, new.frames) and torch.equal(found.audio, new.audio)
    for near, middle, far in zip(*distances, strict=True):
        assert near < 0.1 * far and near < middle < far


def test_editing_the_sound_leaves_the_picture(
    pipeline: SyncFlowPipeline, video: torch.Tensor, audio: torch.Tensor
) -> None:
    found = make(pipeline, video=video, audio=audio, keep_audio="none", strength=0.3)
    assert torch.equal(found.frames, video)
    other = make(pipeline, video=video, audio=audio, keep_audio="none", strength=0.9)
    assert float((found.audio - audio).norm()) < float((other.audio - audio).norm())


def test_the_sound_alone_is_the_sound_of_the_clip(pipeline: SyncFlowPipeline, video: torch.Tensor) -> None:
    for request in ({}, {"video": video}):
        alone, both = (make(pipeline, modalities=m, **request) for m in ("audio", "both"))
        assert alone.frames is None and torch.equal(alone.audio, both.audio)


def test_several_clips_a_given_one_lie_together(pipeline: SyncFlowPipeline, video: torch.Tensor) -> None:
    videos = torch.cat([video, video.flip(2)])
    found = make(pipeline, ["wood", "metal"], video=videos, num_videos_per_prompt=2)
    assert torch.equal(found.frames, videos.repeat_interleave(2, dim=0))
    one = make(pipeline, "metal", video=videos[1:], num_videos_per_prompt=2, index=[2, 3])
    close(one.audio, found.audio[2:])


def test_keep_is_read_as_words_or_spans() -> None:
    assert parse_keep("all") == "all" and parse_keep("none") == "none"
    assert parse_keep("0-0.5,1.5-2") == [(0, 0.5), (1.5, 2)]
    for wrong in ("", "half", "1", "0-1-2", "0-1,"):
        with pytest.raises(UserError, match="expected all, none, or spans"):
            parse_keep(wrong)
    bounds = [(0, 1), (1, 2), (2, 3)]
    assert kept([(0, 1.5), (2, 3)], bounds, given_s=3, name="k") == [True, False, True]
    assert kept("all", bounds, given_s=2.5, name="k") == [True, True, False]


BAD = [
    ({"video": torch.zeros(1, 4, 9, 4, 4), "keep_video": [(1, 0.5)]}, "expected 0 <= start < end"),
    ({"video": torch.zeros(1, 4, 9, 4, 4), "keep_video": [(0, 3)]}, "ends after what is given, 2 s"),
    ({"video": torch.zeros(1, 4, 9, 4, 4), "keep_video": [(0.1, 0.2)]}, "no latent lies whole"),
    ({"video": torch.zeros(1, 4, 9, 4, 4), "modalities": "video"}, "nothing is left to make"),
    ({"audio": torch.zeros(1, 100, 8), "modalities": "audio"}, "nothing is left to make"),
    ({"audio": torch.zeros(1, 100, 8), "modalities": "video"}, "leave the audio out"),
    ({"audio": torch.zeros(1, 99, 8)}, "audio .*expected"),
    ({"audio": np.zeros(0, np.float32)}, "0 samples"),
    ({"audio": np.zeros(100, np.int16)}, "expected float samples"),
    ({"strength": 0.0}, "strength: got 0.0"),
    ({"strength": 0.5}, "no video is"),
    ({"strength": 0.5, "video": torch.zeros(1, 4, 9, 4, 4)}, "no audio is"),
    ({"video": np.zeros((40, 32, 32, 3), np.uint8)}, "40 frames for a clip of 32"),
    (
        {
            "video": np.zeros((8, 32, 32, 3), np.uint8),
            "audio": torch.zeros(1, 100, 8),
            "strength": 0.5,
            "keep_audio": "none",
        },
        "shorter than the clip",
    ),
    ({"video": torch.zeros(2, 4, 9, 4, 4), "audio": torch.zeros(3, 100, 8)}, "3 waveforms for 2 videos"),
]


@pytest.mark.parametrize(("request_", "message"), BAD)
def test_what_cannot_be_kept_or_edited_gets_one_clear_line(
    pipeline: SyncFlowPipeline, request_: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make(pipeline, **request_)
    assert "\n" not in str(caught.value)
