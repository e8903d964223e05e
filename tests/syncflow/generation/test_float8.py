"""Clips whose towers compute in float8: near bfloat16's, told by their sidecars, made again bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncflow.errors import UserError
from syncflow.generation.loading import load_pipeline
from syncflow.generation.reproduce import reproduce_clip, settings_to_reproduce
from syncflow.generation.sidecar import Sidecar
from syncflow.model.float8 import Float8Linear
from syncflow.sampling.pipeline import SyncFlowPipeline
from tests.syncflow.generation.generate_case import PROMPTS, latents, make, settings

FP8: dict[str, Any] = {"dtype": "bfloat16", "speed": {"fp8": True}, "prompt": PROMPTS[:1]}


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_both_towers_compute_in_float8_and_latents_are_near(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    for speed in ({}, FP8["speed"]):
        loaded = load_pipeline(settings(saved, tmp_path, **FP8 | {"speed": speed}))
        model = loaded.pipeline.dual_dit
        counts = [
            sum(isinstance(each, Float8Linear) for each in part.modules())
            for part in (model.video_tower, model.adaptors, model.audio_tower)
        ]
        assert counts == ([2 * 2 * 7, 0, 2 * 7] if speed else [0, 0, 0])
        made = loaded.pipeline(PROMPTS[0], seed=1, num_inference_steps=2, output_type="latent")
        found.append([made.frames.float().numpy(), made.audio.float().numpy(), loaded.weights])
    assert found[0][2] == found[1][2]  # the weights are those of the folder, not what became of them
    for expected, rounded in zip(found[0][:2], found[1][:2], strict=True):
        assert 0 < apart(rounded, expected) < 0.05
    assert [r.message for r in caplog.records if "float8" in r.message] == [
        "speed.fp8: 42 linear maps of video_tower and audio_tower compute in float8"
    ]


def test_a_clip_says_so_is_made_again_and_shares_no_folder_with_others(saved: Path, tmp_path: Path) -> None:
    first, other = tmp_path / "fp8", tmp_path / "bf16"
    make(settings(saved, first, **FP8))
    make(settings(saved, other, **FP8 | {"speed": {}}))
    assert latents(first) != latents(other)
    path = next(first.glob("*.json"))
    sidecar = Sidecar.read(path)
    assert sidecar.settings["speed"]["fp8"] is True
    assert sidecar.weights == Sidecar.read(other / path.name).weights
    with pytest.raises(UserError, match="has other settings; give another --output"):
        make(settings(saved, first, **FP8 | {"speed": {}}))
    again = settings_to_reproduce(sidecar, settings(saved, tmp_path / "again", **FP8 | {"speed": {}}))
    assert again.speed.fp8 and reproduce_clip(sidecar, again)


def test_float32_is_refused_and_the_remedy_helps(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"speed\.fp8 with dtype float32: .*; set dtype to bfloat16"):
        settings(saved, tmp_path, speed={"fp8": True})
    assert settings(saved, tmp_path, **FP8).speed.fp8


def test_such_a_pipeline_is_not_saved_and_takes_no_adapter(saved: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(settings(saved, tmp_path, **FP8)).pipeline
    with pytest.raises(UserError, match=r"^save_pretrained: .*; load the pipeline again without speed\.fp8"):
        pipeline.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    with pytest.raises(UserError, match=r"^lora: the towers compute in float8, .*; load it, fuse_lora"):
        pipeline.load_lora_weights({"dual_dit.x": torch.zeros(1)})
    again = SyncFlowPipeline.from_pretrained(saved, dtype=torch.bfloat16)
    again.save_pretrained(tmp_path / "saved")
