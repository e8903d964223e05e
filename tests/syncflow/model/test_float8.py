"""Products in float8 are near those in float32, and refused where they cannot be computed."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.model import float8
from syncflow.model.config import Part
from syncflow.model.dual_dit import DualDiT
from syncflow.model.float8 import Float8Linear, compute_in_float8, float8_parameters
from syncflow.model.linear import Linear
from syncflow.shipped import shipped_folder

HALF = torch.bfloat16
TOWERS: tuple[Part, ...] = ("video_tower", "audio_tower")
MAPS = 2 * 2 * 7 + 2 * 7  # of the small model: video blocks and audio blocks, two layers


def apart(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@pytest.fixture
def half(model: DualDiT) -> DualDiT:
    return nn.Module.to(model, HALF)


@pytest.fixture
def no_memory() -> Iterator[None]:
    """What a device can do is asked anew, before and after."""
    float8.cannot_multiply.cache_clear()
    yield
    float8.cannot_multiply.cache_clear()


def test_a_product_of_random_numbers_is_within_four_percent(tools) -> None:
    layer, x = Linear(128, 96), tools.normal(5, 7, 128)
    found = Float8Linear(layer)(x)
    assert found.dtype == HALF and found.shape == (5, 7, 96)
    assert 0.005 < apart(found, F.linear(x, layer.weight, layer.bias)) < 0.04


@pytest.mark.gpu
def test_a_gpu_computes_what_a_cpu_does(tools, gpu: str) -> None:
    layer, x = Float8Linear(Linear(1152, 4608)), tools.normal(64, 1152).to(HALF)
    expected = layer(x)
    assert apart(layer.to(gpu)(x.to(gpu)).cpu(), expected) < 0.005


def test_powers_of_two_and_one_number_a_row_are_exact() -> None:
    layer = Linear(16, 16)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(16) * 2.0 ** torch.arange(-8, 8)[:, None])
        layer.bias.zero_()
    x = 2.0 ** torch.arange(-3.0, 5.0)[:, None].expand(8, 16) * 3e4
    torch.testing.assert_close(Float8Linear(layer)(x).float(), layer(x).to(HALF).float(), rtol=2**-8, atol=0)
    x = 2.0 ** (torch.arange(16.0) % 12).expand(8, 16)  # within a row, as far apart as e4m3 reaches
    assert torch.equal(Float8Linear(layer)(x), layer(x).to(HALF))


def test_a_token_depends_on_no_other_and_what_is_not_finite_stays_so(tools) -> None:
    layer, x = Float8Linear(Linear(32, 48)), tools.normal(6, 32)
    alone = layer(x)
    x[1], x[2], x[3, 5], x[4, 5] = 0.0, 1e4 * x[2], torch.nan, torch.inf
    found = layer(x)
    assert torch.equal(found[[0, 5]], alone[[0, 5]])
    assert torch.equal(found[1], layer.bias)
    assert found[3:5].isnan().all() and found[:3].isfinite().all()


@pytest.mark.parametrize("text", [False, True])
def test_both_towers_give_nearly_the_velocities_of_bfloat16(tools, text: bool) -> None:
    config = tools.settings(audio={"context": "video_and_text"} if text else None)
    exact, rounded = (tools.build(config) for _ in range(2))
    rounded = nn.Module.to(rounded, HALF)
    told = compute_in_float8(rounded, TOWERS, setting="speed.fp8")
    assert told == f"speed.fp8: {MAPS} linear maps of video_tower and audio_tower compute in float8"
    assert {type(layer) for layer in rounded.adaptors.modules() if isinstance(layer, nn.Linear)} == {Linear}
    given = (tools.latents(), torch.tensor([0.2, 0.7]), tools.prompts())
    with torch.no_grad():
        expected, found = (model(*given, **tools.clip) for model in (exact, rounded))
        keep = rounded.prepare_text(given[2], keys_values=True)
        assert torch.equal(rounded(given[0], given[1], keep, **tools.clip).video, found.video)
    assert 0.01 < apart(found.video, expected.video) < 0.08
    assert 0.01 < apart(found.audio, expected.audio) < 0.04


def test_features_of_the_shipped_weights_are_within_four_percent(tools) -> None:
    folder = shipped_folder("tiny")
    assert folder is not None
    found = []
    for in_float8 in (False, True):
        model = DualDiT.from_pretrained(folder / "dual_dit", low_cpu_mem_usage=False).eval()
        if in_float8:
            compute_in_float8(nn.Module.to(model, HALF), ["video_tower"], setting="frozen_fp8")
        text = tools.prompts()
        tokens = tools.normal(2, 7, model.settings.video.text_dim)
        z = tools.normal(2, model.settings.video.in_channels, 9, 8, 8)
        with torch.no_grad():
            text = type(text)(tokens=tokens, mask=text.mask, dropped=text.dropped)
            found.append(model.video(z, torch.tensor([0.5, 1.0]), text, **tools.size).features)
    errors = [apart(rounded, exact) for exact, rounded in zip(*found, strict=True)]
    assert len(errors) == 4 and all(0.01 < error < 0.04 for error in errors), errors


def test_a_state_has_the_names_and_nearly_the_numbers_of_the_maps_in_its_place(half: DualDiT) -> None:
    before = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    compute_in_float8(half, TOWERS, setting="speed.fp8")
    after = half.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == MAPS and all(name.endswith("weight") for name in changed)
    for name in changed:
        assert after[name].dtype == HALF and apart(after[name], before[name]) < 0.03
    again = nn.Module.to(DualDiT(**half.settings.model_dump()), HALF)
    again.load_state_dict(after)


def test_casts_and_moves_leave_float8_as_it_is(tools, half: DualDiT) -> None:
    compute_in_float8(half, ["video_tower"], setting="frozen_fp8")
    layer = half.video_tower.spatial_blocks[0].feed_forward.expand
    x = tools.normal(3, 32)
    before = layer(x)
    half.float()
    nn.Module.to(half, torch.float16)
    assert torch.equal(layer(x), before)
    assert {name: tensor.dtype for name, tensor in layer.named_buffers()} == {
        "weight": torch.float8_e4m3fn,
        "scale": torch.float32,
        "bias": HALF,
    }
    moved = nn.Module.to(half, "meta").video_tower.spatial_blocks[0].feed_forward.expand
    assert moved(x.to("meta")).shape == (3, 128)


def test_no_gradient_goes_through(tools) -> None:
    layer = Float8Linear(Linear(32, 48))
    x = tools.normal(3, 32).requires_grad_()
    with pytest.raises(ValueError, match=r"no gradient goes through .*; call it under torch\.no_grad\(\)"):
        layer(x)
    with torch.no_grad():
        assert not layer(x).requires_grad
    assert not list(layer.parameters())


def test_a_block_is_one_graph_for_the_compiler(tools, half: DualDiT) -> None:
    compute_in_float8(half, ["audio_tower"], setting="speed.fp8")
    layer, x = half.audio_tower.blocks[0].feed_forward, tools.normal(3, 32).to(HALF)
    with torch.no_grad():
        expected = layer(x)
        torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), expected)


def test_other_sizes_stay_and_their_number_is_told(tools) -> None:
    config = tools.settings(video={"hidden_size": 32, "mlp_ratio": 1.25})  # feed-forward layers of 40
    model = nn.Module.to(tools.build(config), HALF)
    maps = 2 * 2 * 5
    assert float8_parameters(model, ["video_tower"]) == 2 * 2 * 8 * 32 * 32
    told = compute_in_float8(model, ["video_tower"], setting="frozen_fp8")
    assert told.endswith(f"{maps} linear maps of video_tower compute in float8; 8 stay in bfloat16, their "
                         "sizes are no multiples of 16")  # fmt: skip
    narrow = nn.Module.to(tools.build(tools.settings(video={"hidden_size": 24})), HALF)
    with pytest.raises(UserError, match=r"^frozen_fp8: none of the 28 linear maps .*; leave it off"):
        compute_in_float8(narrow, ["video_tower"], setting="frozen_fp8")


def test_weights_of_another_type_and_adapters_are_refused_and_the_remedies_help(half: DualDiT) -> None:
    half.float()
    with pytest.raises(UserError, match=r"^speed\.fp8: weights in float32, .*; load the weights in bfloat16"):
        compute_in_float8(half, TOWERS, setting="speed.fp8")
    nn.Module.to(half, HALF)
    lora = nn.Parameter(torch.zeros(1))
    block = half.video_tower.spatial_blocks[0]
    block.register_module("query", nn.ParameterDict({"lora_A": lora}))
    with pytest.raises(UserError, match=r"^speed\.fp8: an adapter is upon the weights; merge it first"):
        compute_in_float8(half, TOWERS, setting="speed.fp8")
    del block.query
    compute_in_float8(half, TOWERS, setting="speed.fp8")


def test_a_device_or_torch_that_cannot_is_told_with_what_can(
    half: DualDiT, monkeypatch: pytest.MonkeyPatch, no_memory: None
) -> None:
    def asked(message: str, device: str = "cpu") -> None:
        float8.cannot_multiply.cache_clear()
        with pytest.raises(UserError, match=rf"^speed\.fp8: {message}, or leave it off$"):
            compute_in_float8(half, TOWERS, setting="speed.fp8", device=torch.device(device))

    with monkeypatch.context() as patch:
        patch.delattr(F, "scaled_mm")
        asked(r"torch \S+ has no torch\.nn\.functional\.scaled_mm; install 2\.10 or later")
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
        patch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A40")
        asked(
            r"NVIDIA A40 has compute capability 8\.6, and float8 begins with 8\.9 .*; take such a GPU", "cuda"
        )
    with monkeypatch.context() as patch:

        def refuse(*_: object, **__: object) -> Tensor:
            raise NotImplementedError("no kernel")

        patch.setattr(F, "scaled_mm", refuse)
        asked(r"torch \S+ computes no product in float8 on cpu \(no kernel\); update torch")
