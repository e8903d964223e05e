"""A stage that trains a LoRA: only the adapter trains, and it goes on, loads and merges."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from syncflow.checkpoint import load_checkpoint
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.model.lora import base_sha256, lora_parameters
from syncflow.training.loop import Callback
from syncflow.training.resume import SavedState, saved_steps
from syncflow.training.stage.adapter import ADAPTER_MANIFEST, AdapterManifest
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import check_start

pytest.importorskip("peft", reason="extra [lora] is not installed")
WEIGHTS = "pytorch_lora_weights.safetensors"


class DieAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int) -> None:
        if step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def base(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of stage joint: gates and heads, zero at first, have values upon which a LoRA learns."""
    values = json.loads((latents / "small.json").read_text())
    values |= {
        "stage": "joint",
        "initialise_from": "none",
        "data": latents,
        "output": tmp_path_factory.mktemp("base"),
    }
    config = validate(TrainConfig, values, source="test")
    run_stage(config)
    return config.folder / "checkpoint"


def adapted(settings, base: Path, stage: str = "joint", **changes: object) -> TrainConfig:
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.2}
    return settings(stage, **{"initialise_from": str(base), "lora": lora} | changes)


@pytest.mark.parametrize("stage", ["video", "audio", "joint"])
def test_only_the_adapter_of_the_stages_parts_trains_and_is_handed_over(stage: str, settings, base) -> None:
    config = adapted(settings, base, stage)
    check_start(config)
    assert run_stage(config) == 6
    folder = config.folder / "checkpoint"
    tensors = load_file(folder / WEIGHTS)
    assert {name.split(".")[1] for name in tensors} == set(STAGES[config.stage].trains)
    assert all(name.startswith("dual_dit.") and "lora_" in name for name in tensors)
    assert any(t.abs().max() > 0 for name, t in tensors.items() if "lora_B" in name)
    model, manifest = load_checkpoint(base)
    counted = lora_parameters(
        model, parts=STAGES[config.stage].trains, layers=config.lora.layers, rank=config.lora.rank
    )
    assert sum(t.numel() for t in tensors.values()) == counted
    written = AdapterManifest.model_validate_json((folder / ADAPTER_MANIFEST).read_text())
    assert written.base_sha256 == manifest.model_sha256 == tensors_sha256(model.state_dict())
    assert written.adapter_sha256 == tensors_sha256(tensors)
    with safe_open(folder / WEIGHTS, "pt") as opened:
        saved = json.loads(opened.metadata()["lora_adapter_metadata"])
    assert (saved["dual_dit.r"], saved["dual_dit.lora_alpha"]) == (2, 4.0)
    state = SavedState(saved_steps(config.folder / "engine")[0])
    assert all(".lora_" in name for name in state), "a state holds frozen weights"


def test_a_killed_run_goes_on_to_the_same_adapter_dropout_included(settings, base, tmp_path: Path) -> None:
    whole = adapted(settings, base, output=tmp_path / "whole")
    run_stage(whole)
    killed = adapted(settings, base, output=tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run_stage(killed, callbacks=[DieAt(5)])
    assert run_stage(killed) == 6
    one, two = (load_file(config.folder / "checkpoint" / WEIGHTS) for config in (whole, killed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = adapted(settings, base, output=tmp_path / "killed", lora={"rank": 2, "alpha": 2.0})
    with pytest.raises(UserError, match=r"lora\.alpha was 4\.0, now 2\.0"):
        run_stage(other)


def test_a_loaded_adapter_is_the_trained_model_and_the_base_is_known(settings, base) -> None:
    config = adapted(settings, base)
    run_stage(config)
    folder = config.folder / "checkpoint"
    model, manifest = load_checkpoint(base)
    model.load_lora_adapter(str(folder), prefix="dual_dit", use_safetensors=True)
    tensors = load_file(folder / WEIGHTS)
    held = {name: t for name, t in model.state_dict().items() if ".lora_" in name}
    assert len(held) == len(tensors)
    assert tensors_sha256({f"dual_dit.{n.replace('.default_0.', '.')}": t for n, t in held.items()}) == (
        tensors_sha256(tensors)
    )
    assert base_sha256(model) == manifest.model_sha256


def test_a_model_without_lora_compares_as_before_there_was_any(settings) -> None:
    from syncflow.training.stage.identity import compared_settings

    names = compared_settings(settings("video"), dataset="", first_weights="")
    assert not [name for name in names if name.startswith("lora")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": {"rank": 2, "layers": ["nothing"]}}, r"lora\.layers nothing: no such linear layer"),
        ({"initialise_from": "none"}, "a LoRA needs trained weights"),
        ({"engine": {"kind": "deepspeed"}}, "set engine.kind to torch"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(changes: dict, said: str, settings, base) -> None:
    with pytest.raises(UserError, match=said):
        run_stage(adapted(settings, base, **changes))


def test_a_saved_pipeline_of_another_model_is_refused(settings, repository: Path) -> None:
    config = adapted(settings, repository / "pipelines" / "configs" / "tiny" / "weights")
    with pytest.raises(UserError, match="made with another model"):
        check_start(config)


def test_a_fresh_adapter_changes_nothing(base) -> None:
    from syncflow.model.lora import add_lora

    model, manifest = load_checkpoint(base)
    before = tensors_sha256(model.state_dict())
    add_lora(
        model,
        parts=("audio_tower",),
        layers=("query",),
        rank=2,
        alpha=2,
        dropout=0,
        generator=torch.Generator().manual_seed(0),
    )
    assert isinstance(model, DualDiT) and base_sha256(model) == before == manifest.model_sha256
    assert all(not t.any() for name, t in model.named_parameters() if "lora_B" in name)
