"""Whole stages with the plain torch engine: what they change, how they go on, what they refuse."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from syncflow.checkpoint import CheckpointManifest, load_checkpoint
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.training.loop import Callback
from syncflow.training.resume import saved_steps
from syncflow.training.shares import held_out_batches
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.run import run_stage
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import check_start, starting_model


class Losses(Callback):
    """Keeps the losses, and may end the process's part at a step as a kill would."""

    def __init__(self, die_at: int = 0) -> None:
        self.seen: dict[int, float] = {}
        self.named: dict[str, float] = {}
        self.die_at = die_at

    def on_step(self, step: int) -> None:
        if step == self.die_at:
            raise KeyboardInterrupt

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.named |= metrics
        if "loss" in metrics:
            self.seen[step] = metrics["loss"]


def weights(config) -> dict[str, torch.Tensor]:
    return load_file(config.folder / "checkpoint" / "diffusion_pytorch_model.safetensors")


def manifest(config) -> CheckpointManifest:
    return CheckpointManifest.read(config.folder / "checkpoint")


@pytest.fixture(scope="module")
def three_stages(latents: Path, tmp_path_factory: pytest.TempPathFactory):
    """The stages in their order, once for the tests that only look."""
    import copy

    from syncflow.config import validate
    from syncflow.training.stage.config import TrainConfig

    output = tmp_path_factory.mktemp("three")
    small = json.loads((latents / "small.json").read_text())
    result = {}
    for stage in ("video", "audio", "joint"):
        values = copy.deepcopy(small) | {
            "stage": stage,
            "data": latents,
            "output": output,
            "validate_every": 3,
        }
        config, losses = validate(TrainConfig, values, source="test"), Losses()
        check_start(config)
        assert run_stage(config, callbacks=[losses]) == 6
        result[stage] = config, losses
    return result


def changed_parts(before: CheckpointManifest, after: CheckpointManifest) -> set[str]:
    return {part for part, value in after.parts.items() if before.parts[part] != value}


def test_each_stage_changes_the_parts_that_it_trains_and_no_other(three_stages) -> None:
    video, audio, joint = (manifest(three_stages[stage][0]) for stage in ("video", "audio", "joint"))
    assert changed_parts(video, audio) == {"adaptors", "audio_tower"}
    assert changed_parts(audio, joint) == {"video_tower", "adaptors", "audio_tower"}


def test_a_hand_over_says_how_prompts_and_video_were_shown(three_stages) -> None:
    for config, _ in three_stages.values():
        said = manifest(config)
        assert (said.clean_video, said.prompt_dropout) == (
            config.flow.time.clean_video,
            config.prompt_dropout,
        )
        assert said.text_tokens == 5  # prompts of 4, 5 and 6 tokens


def test_each_stage_reports_the_losses_that_it_scores(three_stages) -> None:
    scored = {
        stage: {name for name in ("loss_video", "loss_audio") if name in losses.named}
        for stage, (_, losses) in three_stages.items()
    }
    assert scored == {"video": {"loss_video"}, "audio": {"loss_audio"}, "joint": {"loss_video", "loss_audio"}}
    assert all("validation/loss" in losses.named for _, losses in three_stages.values())


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_validation_is_of_the_weights_that_are_handed_over_and_changes_nothing(
    settings, tmp_path: Path, weights: str
) -> None:
    checkpoint = {"every": 3, "keep": 2, "weights": weights}
    config = settings("video", checkpoint=checkpoint, validate_every=2, validation_batches=1)
    losses = Losses()
    run_stage(config, callbacks=[losses])
    model, found = load_checkpoint(config.folder / "checkpoint")
    held_out = LatentDataset(config.data, split="test")
    objective = FlowObjective(
        model,
        stage=STAGES["video"],
        flow=config.flow,
        spec=held_out.spec,
        frame_times=held_out.frame_times,
        seed=config.seed,
    ).eval()
    (batch,), _ = held_out_batches(held_out, config)
    assert losses.named["validation/loss"] == pytest.approx(objective(batch)["loss"].item(), rel=1e-6)
    without = settings("video", checkpoint=checkpoint, output=tmp_path / "without")
    run_stage(without)
    assert manifest(without).model_sha256 == found.model_sha256


def test_the_checkpoint_names_what_sampling_needs(three_stages, latents: Path) -> None:
    config, _ = three_stages["joint"]
    model, found = load_checkpoint(config.folder / "checkpoint")
    assert found.stage == "joint" and found.step == 6 and found.dataset == latents.resolve()
    assert found.video_vae.location == "somewhere" and found.spec.height == 32
    assert model.settings == config.model
    assert (config.folder / "checkpoint" / "resolved.yaml").exists()


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(settings, tmp_path: Path) -> None:
    whole, broken = settings("video"), settings("video", output=tmp_path / "broken")
    unbroken, before, after = Losses(), Losses(die_at=5), Losses()
    run_stage(whole, callbacks=[unbroken])
    with pytest.raises(KeyboardInterrupt):
        run_stage(broken, callbacks=[before])
    assert not (broken.folder / "checkpoint").exists()
    run_stage(broken, callbacks=[after])
    assert 4 in after.seen  # and 1, if the state of step 3 was not whole yet
    assert after.seen == {step: loss for step, loss in unbroken.seen.items() if step in after.seen}
    assert manifest(broken).model_sha256 == manifest(whole).model_sha256


def test_a_damaged_state_is_passed_over_for_the_one_before(settings, tmp_path: Path, capsys) -> None:
    config, whole = settings("video"), settings("video", output=tmp_path / "whole")
    run_stage(config)
    last, before = saved_steps(config.folder / "engine")
    part = last / "part_00000.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    losses = Losses()
    run_stage(config, callbacks=[losses])
    run_stage(whole)
    assert "damaged (part_00000.safetensors has changed" in capsys.readouterr().out
    assert min(losses.seen) == 4 and before.name == "step_00000003"
    assert manifest(config).model_sha256 == manifest(whole).model_sha256


def test_a_half_written_state_is_not_seen(settings) -> None:
    config = settings("video")
    half = config.folder / "engine" / ".step_00000003.partial"
    half.mkdir(parents=True)
    (half / "part_00000.safetensors").write_bytes(b"half")
    run_stage(config)
    assert not half.exists() and manifest(config).step == 6


def test_a_finished_stage_trains_no_more(settings) -> None:
    config, losses = settings("video"), Losses()
    run_stage(config)
    before = manifest(config).model_sha256
    assert run_stage(config, callbacks=[losses]) == 6
    assert not losses.seen and manifest(config).model_sha256 == before


def test_more_steps_prolong_a_run(settings) -> None:
    run_stage(settings("video", steps=3))
    prolonged = Losses()
    run_stage(settings("video", steps=6), callbacks=[prolonged])
    assert list(prolonged.seen) == [4, 5, 6]


def test_a_changed_setting_is_refused_with_the_difference(settings) -> None:
    run_stage(settings("video", steps=3))
    other = settings("video", optimizer={"lr": 2e-3, "warmup_steps": 4})
    with pytest.raises(
        UserError, match=r"optimizer\.lr was 0\.001, now 0\.002.*--allow-change optimizer\.lr"
    ):
        run_stage(other)
    insisting = settings("video", optimizer={"lr": 2e-3, "warmup_steps": 4}, allow_change=["optimizer.lr"])
    assert run_stage(insisting) == 6


def test_another_way_to_the_same_update_is_no_change_of_settings(settings) -> None:
    run_stage(settings("video", steps=3, flow={"coupling": {"scope": "update"}}))
    config = settings("video", batch_size=1, accumulate=4, flow={"coupling": {"scope": "update"}})
    assert run_stage(config) == 6
    with pytest.raises(UserError, match="samples_an_update was 4, now 8"):
        run_stage(settings("video", accumulate=2, flow={"coupling": {"scope": "update"}}, steps=9))


def test_a_pairing_that_would_change_is_refused(settings) -> None:
    run_stage(settings("video", steps=3))
    with pytest.raises(UserError, match="batch_size was 4, now 1"):
        run_stage(settings("video", batch_size=1, accumulate=4))
    with pytest.raises(UserError, match=r"set flow\.coupling\.scope to update"):
        settings("video", min_workers=1)


def test_a_stop_file_ends_with_a_state_and_no_checkpoint(settings) -> None:
    config = settings("video")
    config.folder.mkdir(parents=True)
    (config.folder / "stop").touch()
    assert run_stage(config) == 1
    assert [p.name for p in saved_steps(config.folder / "engine")] == ["step_00000001"]
    assert not (config.folder / "checkpoint").exists()


def test_compiling_without_a_compiler_is_one_line(
    settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"engine\.compile: no C\+\+ compiler on PATH .*install g\+\+"):
        run_stage(settings("video", engine={"kind": "torch", "bf16": False, "compile": "always"}))


def test_a_stage_goes_on_with_its_own_weights(settings, three_stages) -> None:
    checkpoint = three_stages["video"][0].folder / "checkpoint"
    config = settings("video", initialise_from=str(checkpoint))
    check_start(config)
    model, first = starting_model(config)
    assert first.sha256 == CheckpointManifest.read(checkpoint).model_sha256
    assert tensors_sha256(model.state_dict()) == first.sha256


def test_the_wrong_stage_is_refused(settings, three_stages) -> None:
    checkpoint = three_stages["video"][0].folder / "checkpoint"
    with pytest.raises(
        UserError, match="of stage 'video', but stage 'joint' starts from one of stage 'audio' or 'joint'"
    ):
        check_start(settings("joint", initialise_from=str(checkpoint)))


def test_another_model_is_refused(settings, three_stages) -> None:
    checkpoint = three_stages["video"][0].folder / "checkpoint"
    video = {"hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 6, "max_text_tokens": 9}
    with pytest.raises(UserError, match=r"video\.max_text_tokens is 12 there, 9 here"):
        check_start(settings("audio", initialise_from=str(checkpoint), model={"video": video}))


@pytest.mark.parametrize(("stage", "name"), [("audio", "video_vae"), ("joint", "audio_vae")])
def test_latents_of_other_autoencoders_are_refused(
    settings, three_stages, tmp_path: Path, stage: str, name: str
) -> None:
    before = three_stages[{"audio": "video", "joint": "audio"}[stage]][0].folder / "checkpoint"
    values = json.loads((before / "manifest.json").read_text())
    values[name]["sha256"] = "f" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    (tmp_path / "config.json").write_text((before / "config.json").read_text())
    with pytest.raises(UserError, match=f"encoded with {name} .*, the model has ffffffffffff"):
        check_start(settings(stage, initialise_from=str(tmp_path)))


def test_a_missing_stage_before_is_named(settings) -> None:
    with pytest.raises(UserError, match=r"run/video/checkpoint does not exist; train stage 'video'"):
        check_start(settings("audio"))


def test_latents_of_another_model_are_refused(settings) -> None:
    video = {"hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 7, "max_text_tokens": 12}
    with pytest.raises(UserError, match=r"model\.video\.text_dim 6, the preset says 7"):
        check_start(settings("video", model={"video": video}))


def test_damaged_weights_are_refused(settings, three_stages, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(three_stages["video"][0].folder / "checkpoint", folder)
    path = folder / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its weights are not those of its manifest"):
        load_checkpoint(folder)


def test_a_frozen_tower_is_held_in_bfloat16_and_handed_on_exactly(settings) -> None:
    run_stage(settings("video", steps=1))
    before = CheckpointManifest.read(settings("video").folder / "checkpoint")
    config = settings("audio", steps=2, engine={"kind": "torch", "bf16": True})
    dtypes: set[torch.dtype] = set()

    def watch(objective):
        dtypes.update(p.dtype for p in objective.model.video_tower.parameters())
        return []

    run_stage(config, watch=watch)
    after = CheckpointManifest.read(config.folder / "checkpoint")
    assert dtypes == {torch.bfloat16}
    assert after.parts["video_tower"] == before.parts["video_tower"]
    saved = load_file(config.folder / "checkpoint" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for name, tensor in saved.items() if tensor.is_floating_point()} == {torch.float32}


def test_settings_of_earlier_runs_say_true_or_false_and_one_worker_needs_no_zero(settings) -> None:
    found = [settings("video", engine={"compile": value}).engine.compile for value in (True, False)]
    assert found == ["always", "never"]
    kinds = {"auto": (False, True), "torch": (False, False), "deepspeed": (True, True)}
    for kind, expected in kinds.items():
        uses = [settings("video", engine={"kind": kind}, workers=n).uses_zero for n in (1, 2)]
        assert tuple(uses) == expected


def test_a_hand_over_that_does_not_fit_on_the_disk_leaves_the_one_before(settings, monkeypatch) -> None:
    run_stage(settings("video", steps=3))
    before = manifest(settings("video"))

    def full(model: DualDiT, folder: Path, **_: object) -> None:
        folder.mkdir()
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"not written: No space left .* room"),
    ):
        patch.setattr(DualDiT, "save_pretrained", full)
        run_stage(settings("video"))
    assert manifest(settings("video")) == before
    assert {path.name for path in settings("video").folder.iterdir()} == {"checkpoint", "engine", "stalled"}
    assert run_stage(settings("video")) == 6 and manifest(settings("video")).step == 6
