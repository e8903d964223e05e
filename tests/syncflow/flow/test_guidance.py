import pytest
import torch

from syncflow.flow.config import GuidanceConfig
from syncflow.flow.guidance import GuidedVelocity
from syncflow.records import AVLatents, TextBatch


class Prompted:
    """A velocity that depends on the latents, the time and the prompt, sample by sample."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x: AVLatents, t: torch.Tensor, text: TextBatch) -> AVLatents:
        self.batches.append(t.shape[0])
        weights = text.mask[..., None] * text.tokens
        prompt = weights.sum((1, 2)) * ~text.dropped + 0.25 * text.dropped + t
        return AVLatents(
            video=None if x.video is None else torch.sin(x.video) * prompt[:, None, None, None, None],
            audio=None if x.audio is None else torch.cos(x.audio) + prompt[:, None, None],
        )


def prompts(length: int = 4, seed: int = 0) -> TextBatch:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(length)[None] < torch.tensor([[length], [2], [1]])
    return TextBatch(
        tokens=torch.randn(3, length, 5, generator=generator),
        mask=mask,
        dropped=torch.zeros(3, dtype=torch.bool),
    )


def latents() -> AVLatents:
    generator = torch.Generator().manual_seed(3)
    return AVLatents(
        video=torch.randn(3, 2, 2, 3, 3, generator=generator), audio=torch.randn(3, 6, 4, generator=generator)
    )


def null(text: TextBatch) -> TextBatch:
    return TextBatch(tokens=text.tokens, mask=text.mask, dropped=torch.ones(3, dtype=torch.bool))


T = torch.full((3,), 0.4)


def guided(config: GuidanceConfig, negative: TextBatch | None = None) -> tuple[AVLatents, Prompted]:
    model = Prompted()
    return GuidedVelocity(model, text=prompts(), negative=negative, config=config)(latents(), T), model


def test_weight_1_is_the_conditional_velocity() -> None:
    found, model = guided(GuidanceConfig(scale=1.0))
    expected = Prompted()(latents(), T, prompts())
    assert torch.equal(found.video, expected.video) and torch.equal(found.audio, expected.audio)
    assert model.batches == [3]


def test_weight_0_is_the_unconditional_velocity() -> None:
    found, model = guided(GuidanceConfig(scale=0.0))
    expected = Prompted()(latents(), T, null(prompts()))
    assert torch.equal(found.video, expected.video) and torch.equal(found.audio, expected.audio)
    assert model.batches == [3]


def test_equation_3() -> None:
    found, model = guided(GuidanceConfig(scale=6.0, audio_scale=2.5))
    u_s, u = Prompted()(latents(), T, prompts()), Prompted()(latents(), T, null(prompts()))
    torch.testing.assert_close(found.video, u.video + 6 * (u_s.video - u.video))
    torch.testing.assert_close(found.audio, u.audio + 2.5 * (u_s.audio - u.audio))
    assert model.batches == [6]


@pytest.mark.parametrize("audio_scale", [0.0, 1.0, 3.0, 6.0])
def test_the_audio_weight_never_changes_the_video(audio_scale: float) -> None:
    found, _ = guided(GuidanceConfig(scale=6.0, audio_scale=audio_scale))
    reference, _ = guided(GuidanceConfig(scale=6.0))
    assert torch.equal(found.video, reference.video)


def test_the_two_modalities_may_take_the_two_extremes() -> None:
    found, _ = guided(GuidanceConfig(scale=1.0, audio_scale=0.0))
    assert torch.equal(found.video, Prompted()(latents(), T, prompts()).video)
    assert torch.equal(found.audio, Prompted()(latents(), T, null(prompts())).audio)


def test_outside_its_interval_guidance_is_the_conditional_velocity() -> None:
    found, model = guided(GuidanceConfig(scale=6.0, start=0.5, end=0.9))
    expected = Prompted()(latents(), T, prompts())
    assert torch.equal(found.video, expected.video) and model.batches == [3]


def test_a_negative_prompt_takes_the_null_prompts_place_whatever_its_length() -> None:
    negative = prompts(length=9, seed=1)
    found, _ = guided(GuidanceConfig(scale=3.0), negative)
    u_s, u = Prompted()(latents(), T, prompts()), Prompted()(latents(), T, negative)
    torch.testing.assert_close(found.video, u.video + 3 * (u_s.video - u.video))


def test_guidance_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start 0\.8 is after end 0\.2"):
        GuidanceConfig(start=0.8, end=0.2)
