"""A pipeline's LoRA as diffusers has it: merged equals unmerged, and nothing is left when it is unloaded."""

import logging
from pathlib import Path

import pytest
import torch

from syncflow import SyncFlowPipeline
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.lora import add_lora, as_saved, settings_as_saved

pytest.importorskip("peft", reason="extra [lora] is not installed")
PARTS, LAYERS = ("video_tower", "adaptors", "audio_tower"), ("query_key_value", "query", "expand")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the shipped model whose every matrix is drawn: it changes the clips."""
    from diffusers.loaders.lora_base import LoraBaseMixin

    model = SyncFlowPipeline.from_pretrained("tiny").dual_dit
    draws = torch.Generator().manual_seed(0)
    add_lora(model, parts=PARTS, layers=LAYERS, rank=4, alpha=8, dropout=0, generator=draws)
    tensors = {n: t.detach().clone() for n, t in model.named_parameters() if ".lora_" in n}
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.normal_(std=0.1, generator=draws)
    folder = tmp_path_factory.mktemp("adapter")
    LoraBaseMixin.write_lora_layers(
        as_saved(tensors), str(folder), True, None, None, True, settings_as_saved(model)
    )
    return folder


def made(pipeline: SyncFlowPipeline) -> tuple[torch.Tensor, torch.Tensor]:
    pipeline.set_progress_bar_config(disable=True)
    clip = pipeline("a drumstick hits a pink gong", seed=1, num_inference_steps=2, output_type="latent")
    return clip.frames, clip.audio  # type: ignore[return-value]


def difference(one: tuple[torch.Tensor, ...], two: tuple[torch.Tensor, ...]) -> float:
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, two, strict=True))


def test_merged_equals_unmerged_and_a_saved_merge_loads_without_peft(adapter: Path, tmp_path: Path) -> None:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    own = tensors_sha256(pipeline.dual_dit.state_dict())
    plain = made(pipeline)
    pipeline.load_lora_weights(adapter, adapter_name="gong")
    assert pipeline.get_active_adapters() == ["gong"]
    adapted = made(pipeline)
    assert difference(plain, adapted) > 1e-2
    pipeline.set_adapters("gong", 0.0)
    assert difference(plain, made(pipeline)) < 1e-4
    pipeline.set_adapters("gong", 1.0)

    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    merged = made(pipeline)
    assert difference(adapted, merged) < 1e-3
    pipeline.save_pretrained(tmp_path / "merged")
    again = SyncFlowPipeline.from_pretrained(tmp_path / "merged")
    assert not getattr(again.dual_dit, "peft_config", None)
    assert difference(merged, made(again)) == 0
    assert tensors_sha256(again.dual_dit.state_dict()) != own


def test_unloaded_leaves_the_model_as_it_was(adapter: Path) -> None:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    own = tensors_sha256(pipeline.dual_dit.state_dict())
    pipeline.load_lora_weights(adapter)
    pipeline.unload_lora_weights()
    assert tensors_sha256(pipeline.dual_dit.state_dict()) == own


def test_half_the_scale_is_half_of_what_is_added(adapter: Path) -> None:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    layer = pipeline.dual_dit.audio_tower.get_submodule("blocks.0")
    own = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    added = {}
    for scale in (1.0, 0.5):
        pipeline.load_lora_weights(adapter, adapter_name="a")
        pipeline.fuse_lora(lora_scale=scale)
        pipeline.unload_lora_weights()
        merged = pipeline.dual_dit.audio_tower.get_submodule("blocks.0").state_dict()
        added[scale] = {name: merged[name] - tensor for name, tensor in own.items()}
        pipeline = SyncFlowPipeline.from_pretrained("tiny")
    for name, whole in added[1.0].items():
        torch.testing.assert_close(whole / 2, added[0.5][name], atol=1e-6, rtol=1e-4)


def test_an_adapter_of_other_weights_is_told_and_none_is_refused(
    adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    with pytest.raises(UserError, match=r"no pytorch_lora_weights\.safetensors in it"):
        pipeline.load_lora_weights(tmp_path)
    with pytest.raises(UserError, match=r"expected names that begin with dual_dit\."):
        pipeline.load_lora_weights({"transformer.x.lora_A.weight": torch.zeros(1)})
    for path in adapter.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "adapter.json").write_text('{"base_sha256": "of another model"}')
    with caplog.at_level(logging.WARNING, logger="syncflow"):
        pipeline.load_lora_weights(tmp_path)
    assert "trained upon other weights" in caplog.text
