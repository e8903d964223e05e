"""What a pipeline is loaded from, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from syncflow.checkpoint import CheckpointManifest, model_config_sha256, part_hashes
from syncflow.errors import UserError
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.generation.config import SpeedConfig
from syncflow.generation.loading import load_pipeline
from syncflow.hashing import tensors_sha256
from syncflow.records import Weights
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig
from tests.syncflow.generation.generate_case import PROMPTS, SPEC, latents, make, settings


def handed_over(pipeline: SyncFlowPipeline, text_config: TextConfig, folder: Path, *, stage: str) -> Path:
    """A checkpoint folder as training writes it, beside the encoders of its dataset."""
    text = TextEncoder(text_config)
    pipeline.video_vae.save_pretrained(folder / "video_vae")
    pipeline.audio_vae.save_pretrained(folder / "audio_vae")
    pipeline.dual_dit.save_pretrained(folder / "checkpoint")

    def weights(name: str) -> Weights:
        sha256 = tensors_sha256(getattr(pipeline, name).state_dict())
        return Weights(sha256=sha256, location=str(folder / name))

    CheckpointManifest(
        stage=stage,  # type: ignore[arg-type]
        step=1,
        weights="ema",
        averaged=1,
        parts=part_hashes(pipeline.dual_dit.state_dict()),
        model_sha256=weights("dual_dit").sha256,
        model_config_sha256=model_config_sha256(pipeline.dual_dit.settings),
        spec=SPEC,
        frame_spans=tuple(pipeline.video_vae.frame_spans(SPEC.num_frames)),
        dataset=folder / "latents",
        dataset_fingerprint="",
        video_vae=weights("video_vae"),
        audio_vae=weights("audio_vae"),
        text_encoder=Weights(sha256=text.sha256, location=""),
        dataset_config={"encode": {"dtype": "float32", "text": text_config.model_dump()}},
        initialised_from="",
    ).write(folder / "checkpoint")
    return folder / "checkpoint"


def test_a_training_checkpoint_makes_what_the_saved_pipeline_makes(
    saved: Path, pipeline: SyncFlowPipeline, text_config: TextConfig, tmp_path: Path
) -> None:
    checkpoint = handed_over(pipeline, text_config, tmp_path, stage="joint")
    for folder, name in ((saved, "saved"), (checkpoint, "trained")):
        make(settings(folder, tmp_path / name, prompt=PROMPTS[:1]))
    assert latents(tmp_path / "saved") == latents(tmp_path / "trained")


def test_the_library_loads_a_stage_s_hand_over_and_says_where_it_is(
    pipeline: SyncFlowPipeline, text_config: TextConfig, tmp_path: Path
) -> None:
    checkpoint = handed_over(pipeline, text_config, tmp_path / "runs" / "joint", stage="joint")
    again = SyncFlowPipeline.from_pretrained(checkpoint)
    for name in ("dual_dit", "video_vae", "audio_vae", "text_encoder"):
        assert tensors_sha256(getattr(again, name).state_dict()) == tensors_sha256(
            getattr(pipeline, name).state_dict()
        )
    for folder in (tmp_path / "runs", tmp_path / "runs" / "joint"):
        with pytest.raises(UserError, match=r"neither .*; did you mean .*joint/checkpoint\?"):
            SyncFlowPipeline.from_pretrained(folder)
    with pytest.raises(UserError, match=r"variant: a checkpoint takes dtype"):
        SyncFlowPipeline.from_pretrained(checkpoint, variant="fp16")
    shutil.move(tmp_path / "runs" / "joint" / "video_vae", tmp_path / "moved")
    with pytest.raises(UserError, match=r"^video_vae '"):
        SyncFlowPipeline.from_pretrained(checkpoint)
    SyncFlowPipeline.from_pretrained(checkpoint, video_vae=tmp_path / "moved")


@pytest.mark.parametrize("said_by", ["manifest.json", "resolved.yaml"])
def test_sampling_unlike_the_training_is_said_once(
    said_by: str,
    pipeline: SyncFlowPipeline,
    text_config: TextConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoint = handed_over(pipeline, text_config, tmp_path, stage="audio")
    settings_of_training: dict[str, Any] = {"clean_video": 1.0, "prompt_dropout": 0.0}
    path = checkpoint / "manifest.json"
    values = {n: v for n, v in json.loads(path.read_text()).items() if n not in settings_of_training}
    if said_by == "manifest.json":
        path.write_text(json.dumps(values | settings_of_training))
    else:  # of an older checkpoint
        path.write_text(json.dumps(values))
        (checkpoint / said_by).write_text("flow: {time: {clean_video: 1.0}}\nprompt_dropout: 0.0\n")
    one = {"prompt": PROMPTS[:1], "solver": SolverConfig(steps=1)}
    make(settings(checkpoint, tmp_path / "unlike", **one | {"batch_size": 1, "per_prompt": 2}))
    told = [record.message for record in caplog.records]
    assert sum("clean_video: off" in line and "--clean-video" in line for line in told) == 1
    assert sum("--guidance.scale 1" in line for line in told) == 1
    caplog.clear()
    make(settings(checkpoint, tmp_path / "like", **one, clean_video=True, guidance=GuidanceConfig(scale=1.0)))
    assert not caplog.records


def test_a_wrong_checkpoint_gets_one_line(
    pipeline: SyncFlowPipeline, other_pipeline: SyncFlowPipeline, text_config: TextConfig, tmp_path: Path
) -> None:
    stage = handed_over(pipeline, text_config, tmp_path / "video", stage="video")
    swapped = handed_over(pipeline, text_config, tmp_path / "swapped", stage="joint")
    other_pipeline.audio_vae.save_pretrained(tmp_path / "swapped" / "audio_vae")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "model_index.json").write_text(json.dumps({"dual_dit": ["os", "system"]}))
    (tmp_path / "empty").mkdir()
    cases = [
        (Path(), "checkpoint: not set"),
        (tmp_path / "none", "no such folder"),
        (tmp_path / "empty", r"no manifest\.json in it"),
        (stage, "of stage video, its audio tower is not trained"),
        (swapped, "made with audio_vae"),
        (foreign, r"names \['os', 'system'\] as dual_dit"),
    ]
    for folder, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            load_pipeline(settings(folder, tmp_path / "out"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_rates_that_the_checkpoint_does_not_know_are_refused(saved: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"fps": 24}, r"clip\.fps: 24.*trained at 16"),
        ({"sample_rate": 16_000}, "48000"),
    ):
        with pytest.raises(UserError, match=message):
            load_pipeline(settings(saved, tmp_path, clip=SPEC.model_copy(update=changes)))


def test_models_and_autoencoders_that_count_time_otherwise_are_refused(
    saved: Path, pipeline: SyncFlowPipeline, text_config: TextConfig, tmp_path: Path
) -> None:
    def change(path: Path, **values: object) -> None:
        config = json.loads(path.read_text())
        for name, value in values.items():
            group = config["audio"] if name in config.get("audio", {}) else config
            group[name] = value
        path.write_text(json.dumps(config))

    checkpoint = handed_over(pipeline, text_config, tmp_path, stage="joint")
    change(tmp_path / "video_vae" / "config.json", frames_per_chunk=9)
    with pytest.raises(UserError, match=r"trained on latent frames .*put its config\.json back"):
        load_pipeline(settings(checkpoint, tmp_path / "out"))
    shutil.copytree(saved, tmp_path / "saved")
    change(tmp_path / "saved" / "dual_dit" / "config.json", latent_rate=40.0)
    with pytest.raises(UserError, match=r"by 40 a second .* its audio VAE makes 50"):
        load_pipeline(settings(tmp_path / "saved", tmp_path / "out"))


def test_compiling_without_a_compiler_is_one_line(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"speed\.compile: no C\+\+ compiler on PATH .*install g\+\+"):
        load_pipeline(settings(saved, tmp_path, speed=SpeedConfig(compile=True)))
