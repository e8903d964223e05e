"""Stage audio with the frozen video tower's products in float8: nearly the losses, exactly the weights."""

import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from syncflow.checkpoint import CheckpointManifest
from syncflow.config import dump_config
from syncflow.errors import UserError
from syncflow.model.float8 import Float8Linear, computes_in_float8
from syncflow.training.stage.export import export_checkpoints
from syncflow.training.stage.export_config import ExportConfig
from syncflow.training.stage.plan import make_plan
from syncflow.training.stage.run import run_stage
from tests.syncflow.training.stage.test_run import Losses

ENGINE = {"engine": {"kind": "torch", "bf16": True}}
FP8: dict[str, Any] = ENGINE | {"frozen_fp8": True}
MAPS = 2 * 2 * 7


def test_the_tower_is_held_in_float8_and_handed_on_exactly(settings, capsys) -> None:
    run_stage(settings("video", steps=1))
    before = CheckpointManifest.read(settings("video").folder / "checkpoint")
    config = settings("audio", steps=2, **FP8)
    kinds: list[int] = []

    def watch(objective):
        kinds.append(sum(isinstance(m, Float8Linear) for m in objective.model.video_tower.modules()))
        assert not computes_in_float8(objective.model.audio_tower)
        return []

    run_stage(config, watch=watch)
    assert kinds == [MAPS]
    assert f"frozen_fp8: {MAPS} linear maps of video_tower compute in float8" in capsys.readouterr().out
    after = CheckpointManifest.read(config.folder / "checkpoint")
    assert after.parts["video_tower"] == before.parts["video_tower"]
    saved = load_file(config.folder / "checkpoint" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in saved.values() if tensor.is_floating_point()} == {torch.float32}
    assert not any("scale" in name for name in saved)
    dump_config(config, config.folder / "resolved.yaml")
    shutil.rmtree(config.folder / "checkpoint")
    (exported,) = export_checkpoints(
        ExportConfig(run=config.folder)
    )  # its frozen weights are those of states
    assert CheckpointManifest.read(exported).parts == after.parts


def test_a_run_goes_on_in_float8_alone(settings) -> None:
    run_stage(settings("audio", steps=3, initialise_from="none", **FP8))
    with pytest.raises(UserError, match=r"frozen_fp8 was True, now None.*--allow-change frozen_fp8"):
        run_stage(settings("audio", steps=4, initialise_from="none", **ENGINE))
    run_stage(settings("audio", steps=4, initialise_from="none", **FP8))
    run_stage(settings("audio", steps=5, initialise_from="none", allow_change=("frozen_fp8",), **ENGINE))


@pytest.mark.parametrize("finished", [False, True])
def test_losses_are_nearly_those_of_bfloat16(settings, tmp_path, finished: bool) -> None:
    changes: dict[str, Any] = {"initialise_from": "none"}
    if finished:  # features of a video are computed once
        changes |= {"flow": {"time": {"clean_video": 1.0}, "coupling": {"score": "video"}}}
        changes["one_video_draw"] = True
    found = []
    for name, precision in (("bf16", ENGINE), ("fp8", FP8)):
        losses = Losses()
        config = settings("audio", output=tmp_path / name, **changes, **precision)
        run_stage(config, watch=lambda _, losses=losses: [losses])
        found.append(list(losses.seen.values()))
    assert found[0] != found[1] and len(found[0]) == 6
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_other_stages_and_float32_are_refused_and_the_remedies_help(settings) -> None:
    for stage in ("video", "joint"):
        with pytest.raises(UserError, match=rf"frozen_fp8: stage {stage} trains .*; set it for stage audio"):
            settings(stage, **FP8)
    with pytest.raises(UserError, match=r"frozen_fp8 without engine\.bf16: .*; set engine\.bf16 to true"):
        settings("audio", frozen_fp8=True)
    settings("audio", frozen_fp8=True, engine={"bf16": True})


def test_a_plan_holds_the_tower_in_float8(settings) -> None:
    plain, small = (make_plan(settings("audio", **precision)) for precision in (ENGINE, FP8))
    width, layers = 16, 2
    maps = layers * 2 * (3 + 1 + 1 + 2 + 1 + 4 + 4) * width**2
    for zero in (0, 1, 2, 3):
        assert plain.states[zero] - small.states[zero] == maps  # a byte each
    assert plain.checkpoint_bytes == small.checkpoint_bytes
