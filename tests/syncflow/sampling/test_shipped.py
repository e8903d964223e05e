"""The pipeline that comes with the package: found by name, offline, and in time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from syncflow.evaluation.sync import sync_score
from syncflow.generation.config import GenerateConfig
from syncflow.generation.loading import load_pipeline
from syncflow.hashing import tensors_sha256
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.shipped import SHIPPED, shipped_folder

MOST_BYTES = 25_000_000
PROMPTS = [
    "a drumstick hits a metal object three times",
    "a drumstick hits a wooden block twice",
    "a drumstick hits a plastic bottle three times",
    "a drumstick pokes a heap of gravel once",
    "a drumstick hits a ceramic bowl twice",
    "a drumstick hits a basin of water twice",
]


@pytest.fixture(scope="module")
def tiny() -> SyncFlowPipeline:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_name_is_a_shipped_pipeline_unless_a_folder_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shipped_folder("tiny") == SHIPPED["tiny"] and shipped_folder("no-such") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert shipped_folder("tiny") is None


def test_all_shipped_weights_fit_25_mb() -> None:
    total = sum(path.stat().st_size for path in SHIPPED["tiny"].rglob("*") if path.is_file())
    assert 1_000_000 < total <= MOST_BYTES


def test_the_library_and_the_command_load_the_same_weights(tiny: SyncFlowPipeline, tmp_path: Path) -> None:
    loaded = load_pipeline(
        GenerateConfig(checkpoint=Path("tiny"), output=tmp_path, clip={"height": 64, "width": 64})  # type: ignore[arg-type]
    )
    for name, sha256 in loaded.weights.items():
        assert sha256 == tensors_sha256(getattr(tiny, name).state_dict()), name


def test_weights_saved_in_half_precision_run_in_the_one_that_is_asked_for(
    tiny: SyncFlowPipeline, tmp_path: Path
) -> None:
    stored = load_file(SHIPPED["tiny"] / "dual_dit" / "diffusion_pytorch_model.safetensors")
    assert torch.float16 in {tensor.dtype for tensor in stored.values()}
    coarse = SyncFlowPipeline.from_pretrained("tiny", dtype=torch.bfloat16)
    settings = GenerateConfig(checkpoint=Path("tiny"), output=tmp_path, clip={"height": 64, "width": 64})  # type: ignore[arg-type]
    by_command = load_pipeline(settings.model_copy(update={"dtype": "bfloat16"})).pipeline
    for pipeline, dtype in ((tiny, torch.float32), (coarse, torch.bfloat16), (by_command, torch.bfloat16)):
        assert {weight.dtype for weight in pipeline.dual_dit.parameters()} == {dtype}


@pytest.mark.slow
def test_clips_from_text_sound_when_something_is_hit(tiny: SyncFlowPipeline) -> None:
    output = tiny(
        PROMPTS,
        seed=0,
        index=range(len(PROMPTS)),
        num_inference_steps=25,
        guidance_scale=1.5,
        audio_guidance_scale=2.0,
        clean_video=True,
    )
    frames, audio = output.frames, output.audio
    assert frames.shape == (6, 32, 64, 64, 3) and audio.shape == (6, 96_000)  # type: ignore[union-attr]

    def f1(shift: int) -> float:
        scores = [
            sync_score(frames[i], audio[(i + shift) % 6], fps=16, sample_rate=48_000).f1 for i in range(6)
        ]
        return float(np.nanmean(scores))

    assert f1(0) > 0.4 and f1(0) > 1.3 * np.mean([f1(shift) for shift in range(1, 6)])
