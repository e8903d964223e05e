"""FoleyGen's laws: the delay pattern, who attends to whom, the cache, guidance."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.foleygen.config import CodeSamplingConfig, FoleyGenConfig
from syncflow.foleygen.delay_pattern import from_sequence, holds_code, logits_of_codes, to_sequence
from syncflow.foleygen.masks import audio_to_frames, prefix_mask
from syncflow.foleygen.model import FoleyGen, load_foleygen
from syncflow.foleygen.sampling import sample_codes

VERSIONS = ("prefix", "cross")
SCHEMES = ("all", "causal", "frame")
FRAMES, CODES = 6, 10  # 0.4 s at 15 frames and 25 codes a second


def small(version: str, scheme: str) -> FoleyGen:
    torch.manual_seed(0)
    config = FoleyGenConfig(
        version=version,  # type: ignore[arg-type]
        visual_attention=scheme,  # type: ignore[arg-type]
        num_codebooks=3,
        codebook_size=11,
        code_rate=25.0,
        feature_dim=5,
        feature_rate=15.0,
        hidden_size=16,
        depth=2,
        num_heads=2,
    )
    model = FoleyGen(**config.model_dump())
    with torch.no_grad():  # the small first weights would hide what depends on what
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def inputs(clips: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(11, (clips, 3, CODES), generator=draw)
    features = torch.randn(clips, FRAMES, 5, generator=draw)
    return to_sequence(codes, special=11)[:, :, :-1], features, torch.zeros(clips, dtype=torch.bool)


def test_the_delay_pattern_is_the_original_one(golden_files: Path) -> None:
    golden = load_file(golden_files / "delay_pattern_a" / "io.safetensors")
    sequence = to_sequence(golden["codes"], special=2048)
    assert torch.equal(sequence, golden["sequence"])
    assert torch.equal(from_sequence(sequence), golden["codes"])
    valid = golden["sequence_valid_steps"]  # the original can leave out the steps after the last first code
    assert torch.equal(sequence[..., : valid.shape[-1]], valid)
    mask = torch.stack([holds_code(s, num_codes=12, num_codebooks=4) for s in range(16)], dim=1)
    assert torch.equal(mask, golden["sequence_mask"])


def test_logits_of_a_sequence_belong_to_the_codes_of_the_original(golden_files: Path) -> None:
    golden = load_file(golden_files / "delay_pattern_a" / "io.safetensors")
    logits = golden["logits"].permute(0, 2, 3, 1)  # b v k s -> b k s v, the first 13 steps only
    whole = torch.nn.functional.pad(logits, (0, 0, 0, 15 - logits.shape[2]))
    reverted = logits_of_codes(whole).permute(0, 3, 1, 2)
    mask = golden["logits_mask"]  # k n
    assert torch.equal(reverted[..., mask], golden["logits_reverted"][..., mask])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_audio_token_sees_a_later_one(version: str, scheme: str) -> None:
    model, (sequence, features, told) = small(version, scheme), inputs()
    before = model(sequence, features, told)
    changed = sequence.clone()
    changed[:, :, 7] = (changed[:, :, 7] + 3) % 11
    after = model(changed, features, told)
    assert torch.equal(before[:, :, :7], after[:, :, :7])
    assert not torch.allclose(before[:, :, 7:], after[:, :, 7:])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_later_frame_reaches_earlier_audio_only_where_all_frames_are_seen(version: str) -> None:
    for scheme in SCHEMES:
        model, (sequence, features, told) = small(version, scheme), inputs()
        changed = features.clone()
        changed[:, 3, 0] += 2.0  # shown from 3/15 s on: from step 5 on
        one, other = model(sequence, features, told), model(sequence, changed, told)
        same = torch.equal(one[:, :, :5], other[:, :, :5])
        assert same == (scheme != "all"), scheme
        assert not torch.allclose(one[:, :, 5], other[:, :, 5])


def test_a_frame_specific_token_attends_to_the_frame_of_its_time_alone() -> None:
    config = FoleyGenConfig(visual_attention="frame", code_rate=50, feature_rate=16)
    mask = audio_to_frames(104, 32, config)
    assert (mask.sum(1) == 1).all()
    assert mask[0, 0] and mask[25, 8] and mask[99, 31] and mask[103, 31]  # 25 codes are half a second
    assert (mask | ~audio_to_frames(104, 32, config.model_copy(update={"visual_attention": "causal"}))).any()


def test_no_frame_attends_to_audio() -> None:
    for scheme in SCHEMES:
        config = FoleyGenConfig(visual_attention=scheme)  # type: ignore[arg-type]
        assert not prefix_mask(20, 8, config)[:8, 8:].any()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_a_cache_the_codes_are_the_same(version: str, scheme: str) -> None:
    model, (_, features, _) = small(version, scheme), inputs()
    drawn = [
        sample_codes(
            model, features, num_codes=CODES, config=CodeSamplingConfig(cache=cache), seed=3, index=[0, 1]
        )
        for cache in (True, False)
    ]
    assert torch.equal(*drawn) and drawn[0].shape == (2, 3, CODES) and drawn[0].max() < 11


@pytest.mark.parametrize("version", VERSIONS)
def test_cached_logits_are_those_of_the_whole_sequence(version: str) -> None:
    model, (sequence, features, told) = small(version, "causal"), inputs()
    whole = model(sequence, features, told)
    cache, frames = model.start(features, told)
    for step in range(sequence.shape[2]):
        logits = model.next_logits(sequence[:, :, step], step=step, cache=cache, frames=frames)
        torch.testing.assert_close(logits, whole[:, :, step], rtol=1e-4, atol=1e-5)


def test_guidance_of_one_is_the_conditional_model_and_of_none_the_unconditional_one() -> None:
    model, (_, features, _) = small("prefix", "all"), inputs()

    def drawn(given: torch.Tensor, guidance: float) -> torch.Tensor:
        config = CodeSamplingConfig(guidance=guidance, top_k=1)  # the most probable code: nothing is drawn
        return sample_codes(model, given, num_codes=CODES, config=config, seed=0, index=[0, 1])

    near = drawn(features, 1.0 + 1e-7)  # by way of both
    assert torch.equal(drawn(features, 1.0), near)
    assert torch.equal(drawn(features, 0.0), drawn(torch.zeros_like(features), 0.0))
    assert not torch.equal(drawn(features, 1.0), drawn(features, 0.0))


def test_a_clip_has_the_same_codes_whatever_is_beside_it() -> None:
    model, (_, features, _) = small("cross", "all"), inputs(3)
    config = CodeSamplingConfig(top_k=4)
    together = sample_codes(model, features, num_codes=CODES, config=config, seed=5, index=[7, 8, 9])
    alone = sample_codes(model, features[1:2], num_codes=CODES, config=config, seed=5, index=[8])
    assert torch.equal(together[1:2], alone)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model, given = small("cross", "frame"), inputs()
    model.save_pretrained(tmp_path)
    assert torch.equal(load_foleygen(tmp_path)(*given), model(*given))
