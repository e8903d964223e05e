import pytest
import torch

from syncflow.hashing import tensors_sha256
from syncflow.model import linear
from syncflow.model.dual_dit import DualDiT
from syncflow.records import AVLatents, TextBatch

TIMES = torch.tensor([0.2, 0.7])


def total(velocity: AVLatents) -> torch.Tensor:
    return sum(each.square().mean() for each in (velocity.video, velocity.audio) if each is not None)


@torch.no_grad()
def test_the_video_velocity_does_not_depend_on_the_audio_latents(model: DualDiT, tools):
    x, text = tools.latents(), tools.prompts()
    found = model(x, TIMES, text, **tools.clip)
    other = model(AVLatents(video=x.video, audio=tools.normal(2, 20, 6, seed=9)), TIMES, text, **tools.clip)
    alone = model(AVLatents(video=x.video, audio=None), TIMES, text, **tools.clip)
    assert torch.equal(found.video, other.video) and torch.equal(found.video, alone.video)
    assert alone.audio is None and not torch.allclose(found.audio, other.audio)


@torch.no_grad()
def test_the_audio_velocity_depends_on_every_latent_frame_of_the_video(model: DualDiT, tools):
    x, text = tools.latents(), tools.prompts()
    found = model(x, TIMES, text, **tools.clip).audio
    for frame in (0, 4, 8):
        video = x.video.clone()
        video[:, :, frame] += 1
        changed = model(AVLatents(video=video, audio=x.audio), TIMES, text, **tools.clip).audio
        assert not torch.allclose(found, changed)


@torch.no_grad()
def test_towers_called_apart_give_what_forward_gives(model: DualDiT, tools):
    x, text = tools.latents(), tools.prompts()
    whole = model(x, TIMES, text, **tools.clip)
    video = model.video(x.video, TIMES, text, **tools.size)
    assert torch.equal(video.velocity, whole.video)
    assert torch.equal(
        model.audio(x.audio, TIMES, text, video.features, frame_times=tools.times), whole.audio
    )


@pytest.mark.parametrize("context", ["video", "text", "video_and_text"])
@pytest.mark.parametrize("adaptor", ["attention", "none"])
@torch.no_grad()
def test_every_form_runs_through_the_same_classes(tools, context: str, adaptor: str):
    model = tools.build(tools.settings(audio={"context": context}, adaptor=adaptor))
    velocity = model(tools.latents(), TIMES, tools.prompts(), **tools.clip)
    assert velocity.video.isfinite().all() and velocity.audio.isfinite().all()
    assert velocity.audio.shape == (2, 20, 6)


@torch.no_grad()
def test_text_to_audio_needs_no_video_and_hears_the_text(tools):
    model = tools.build(tools.settings(audio={"context": "text"}))
    x, text = tools.latents(), tools.prompts()
    alone = model(AVLatents(video=None, audio=x.audio), TIMES, text, **tools.clip)
    assert alone.video is None
    assert torch.equal(alone.audio, model(x, TIMES, text, **tools.clip).audio)
    other = model(AVLatents(video=None, audio=x.audio), TIMES, tools.prompts(seed=5), **tools.clip)
    assert not torch.allclose(alone.audio, other.audio)


def test_an_audio_tower_that_reads_video_says_so_when_it_gets_none(model: DualDiT, tools):
    with pytest.raises(ValueError, match="reads the video"):
        model(AVLatents(video=None, audio=tools.latents().audio), TIMES, tools.prompts(), **tools.clip)


@pytest.mark.parametrize("context", ["video", "text", "video_and_text"])
@torch.no_grad()
def test_padding_of_the_text_changes_nothing(tools, same, context: str):
    model = tools.build(tools.settings(audio={"context": context}))
    x, text = tools.latents(), tools.prompts()
    tokens = torch.cat((text.tokens, 100 * tools.normal(2, 4, 16, seed=3)), dim=1)
    tokens[1, 5:7] += 50  # row 1 has five valid tokens
    mask = torch.cat((text.mask, torch.zeros(2, 4, dtype=torch.bool)), dim=1)
    padded = TextBatch(tokens=tokens, mask=mask, dropped=text.dropped)
    found, other = (model(x, TIMES, each, **tools.clip) for each in (text, padded))
    same(other.video, found.video)
    same(other.audio, found.audio)


@torch.no_grad()
def test_a_dropped_prompt_is_the_null_prompt_under_its_own_mask(model: DualDiT, tools, same):
    x, text = tools.latents(), tools.prompts()
    dropped = torch.tensor([False, True])
    found, other = (
        model(x, TIMES, TextBatch(tokens=each, mask=text.mask, dropped=dropped), **tools.clip)
        for each in (text.tokens, text.tokens * torch.tensor([1.0, -7.0])[:, None, None])
    )
    assert torch.equal(found.video, other.video) and torch.equal(found.audio, other.audio)
    null = model.video_tower.text_embedding.null_prompt[: text.tokens.shape[1]]
    by_hand = TextBatch(tokens=null.expand(2, -1, -1), mask=text.mask, dropped=text.dropped)
    same(model(x, TIMES, by_hand, **tools.clip).video[1], found.video[1])


@torch.no_grad()
def test_the_order_of_the_batch_changes_nothing(tools, same):
    model = tools.build(tools.settings(audio={"context": "video_and_text"}))
    x, text, t = tools.latents(3), tools.prompts(3), torch.tensor([0.1, 0.5, 0.9])
    found = model(x, t, text, **tools.clip)
    order = torch.tensor([2, 0, 1])
    shuffled = model(
        AVLatents(video=x.video[order], audio=x.audio[order]),
        t[order],
        TextBatch(tokens=text.tokens[order], mask=text.mask[order], dropped=text.dropped[order]),
        **tools.clip,
    )
    same(shuffled.video, found.video[order])
    same(shuffled.audio, found.audio[order])


@pytest.mark.parametrize("context", ["video", "video_and_text"])
@torch.no_grad()
def test_one_video_forward_serves_many_audio_draws(tools, same, context: str):
    model = tools.build(tools.settings(audio={"context": context}))
    x, text = tools.latents(), tools.prompts()
    features = model.video(x.video, TIMES, text, **tools.size).features
    draws = tools.normal(2, 3, 20, 6, seed=4)  # b K n d
    together = model.audio(
        draws.flatten(0, 1), TIMES.repeat_interleave(3), text, features, frame_times=tools.times
    )
    for draw in range(3):
        same(
            together.unflatten(0, (2, 3))[:, draw],
            model.audio(draws[:, draw], TIMES, text, features, frame_times=tools.times),
        )


@torch.no_grad()
def test_prepared_text_gives_what_the_text_gives(tools):
    model = tools.build(tools.settings(audio={"context": "video_and_text"}))
    x, text = tools.latents(), tools.prompts()
    found = model(x, TIMES, text, **tools.clip)
    for kept in (False, True):
        other = model(x, TIMES, model.prepare_text(text, keys_values=kept), **tools.clip)
        assert torch.equal(found.video, other.video) and torch.equal(found.audio, other.audio)


def test_a_frozen_tower_gets_no_gradient_and_keeps_its_hash(model: DualDiT, tools):
    model.video_tower.requires_grad_(False)
    before, heard = (
        tensors_sha256(model.video_tower.state_dict()),
        tensors_sha256(model.adaptors.state_dict()),
    )
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    velocity = model(tools.latents(), TIMES, tools.prompts(), **tools.clip)
    assert not velocity.video.requires_grad, "a frozen part builds no graph"
    velocity.audio.square().mean().backward()
    optimizer.step()
    assert all(p.grad is None for p in model.video_tower.parameters())
    assert all(p.grad is not None for p in model.audio_tower.parameters())
    assert tensors_sha256(model.video_tower.state_dict()) == before
    assert tensors_sha256(model.adaptors.state_dict()) != heard


def test_joint_training_reaches_the_video_tower_through_the_audio(model: DualDiT, tools):
    model(tools.latents(), TIMES, tools.prompts(), **tools.clip).audio.square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.video_tower.temporal_blocks.parameters())


@pytest.mark.parametrize("smallest", [0, linear.SMALLEST])
def test_checkpointing_changes_memory_and_nothing_else(
    model: DualDiT, tools, same, monkeypatch: pytest.MonkeyPatch, smallest: int
):
    monkeypatch.setattr(linear, "SMALLEST", smallest)  # 0: every product in oneDNN
    x, text, found = tools.latents(), tools.prompts(), []
    saved: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    for checkpoint in (False, True):
        if checkpoint:
            model.enable_gradient_checkpointing()
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            velocity = model(x, TIMES, text, **tools.clip)
        total(velocity).backward()
        found.append((velocity, [p.grad.clone() for p in model.parameters()], sum(saved)))
        model.zero_grad()
    (plain, gradients, memory), (checkpointed, again, less) = found
    same(checkpointed.video, plain.video)
    same(checkpointed.audio, plain.audio)
    for first, second in zip(gradients, again, strict=True):
        same(second, first)
    assert less < memory / 3


@pytest.mark.slow
def test_compiled_blocks_change_results_by_rounding_only(tools, same):
    model = tools.build(tools.settings(video={"depth": 1}, audio={"depth": 1}))
    x, text = tools.latents(), tools.prompts()
    plain = model(x, TIMES, text, **tools.clip)
    total(plain).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.compile_repeated_blocks(fullgraph=True)
    compiled = model(x, TIMES, text, **tools.clip)
    total(compiled).backward()
    same(compiled.video, plain.video, tolerance=1e-4)
    same(compiled.audio, plain.audio, tolerance=1e-4)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        same(parameter.grad, gradient, tolerance=1e-3)


@torch.no_grad()
def test_bf16_is_near_float32(model: DualDiT, tools):
    x, text = tools.latents(), tools.prompts()
    exact = model(x, TIMES, text, **tools.clip)
    frequencies = model.video_tower.rotary_frequencies
    rough = model.to(torch.bfloat16)(x, TIMES, text, **tools.clip)
    assert torch.equal(model.video_tower.rotary_frequencies, frequencies), "angles stay exact"
    for near, value in ((rough.video, exact.video), (rough.audio, exact.audio)):
        assert near.dtype == torch.float32
        assert (near - value).norm() < 0.05 * value.norm()
