"""Every system on a GPU: the CPU's clips up to rounding, the same bits again, and offload."""

from typing import Any

import numpy as np
import pytest
import torch

from syncflow.flow.config import SolverConfig
from syncflow.model.compiled import compile_blocks
from syncflow.sampling.graphed import Graphs
from syncflow.sampling.pipeline import SyncFlowPipeline
from tests.syncflow.sampling.conftest import tiny_pipeline

pytestmark = pytest.mark.gpu
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
SOUND = np.random.default_rng(1).uniform(-1, 1, 24_000).astype(np.float32)
WAYS: dict[str, dict[str, Any]] = {
    "text to clip": {"prompt": ["rain", "a drum"]},
    "text to picture": {"prompt": "rain", "modalities": "video"},
    "text to sound": {"prompt": "rain", "modalities": "audio"},
    "negative prompt, guidance in a part": {
        "prompt": "rain",
        "negative_prompt": "speech",
        "guidance_interval": (0.2, 0.8),
    },
    "video to sound": {"prompt": "rain", "video": PICTURE},
    "video to sound, several times in one forward": {"video": PICTURE, "video_steps_per_batch": 3},
    "video to sound, finished picture": {"prompt": "rain", "video": PICTURE, "clean_video": True},
    "sound to video": {"prompt": "rain", "audio": SOUND},
    "continuation": {"prompt": "rain", "video": PICTURE[:4], "keep_video": [(0, 0.25)]},
    "editing": {
        "prompt": "rain",
        "video": PICTURE,
        "keep_video": "none",
        "audio": SOUND,
        "keep_audio": "none",
        "strength": 0.5,
    },
    "another size": {"prompt": "rain", "height": 48, "width": 80},
    "multistep": {"prompt": "rain", "solver": SolverConfig(steps=4, method="ab2")},
    "reused video tower": {"prompt": "rain", "video_every": 2},
}


@pytest.fixture(scope="module")
def on_cpu() -> SyncFlowPipeline:
    return tiny_pipeline()


@pytest.fixture
def on_gpu(gpu: str) -> SyncFlowPipeline:
    return tiny_pipeline().to(gpu)


def made(pipeline: SyncFlowPipeline, **request: Any) -> list[torch.Tensor]:
    found = pipeline(**{"num_inference_steps": 4, "seed": 3, "output_type": "latent", **request})
    return [part.float().cpu() for part in (found.frames, found.audio) if part is not None]


def apart(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """The largest distance of a modality, as a share of its norm."""
    return max(float((a - b).norm() / a.norm()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_the_gpu_makes_what_the_cpu_makes(
    on_cpu: SyncFlowPipeline, on_gpu: SyncFlowPipeline, way: str
) -> None:
    expected, found = made(on_cpu, **WAYS[way]), made(on_gpu, **WAYS[way])
    assert apart(expected, found) < 1e-4
    again = made(on_gpu, **WAYS[way])
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_bfloat16_is_near(on_cpu: SyncFlowPipeline, on_gpu: SyncFlowPipeline) -> None:
    request = WAYS["text to clip"]
    torch.nn.Module.to(on_gpu.dual_dit, torch.bfloat16)
    assert 0 < apart(made(on_cpu, **request), made(on_gpu, **request)) < 0.1


def test_decoded_clips_leave_the_gpu(on_cpu: SyncFlowPipeline, on_gpu: SyncFlowPipeline) -> None:
    request = WAYS["text to clip"] | {"num_inference_steps": 2, "seed": 0}
    expected, found = on_cpu(**request), on_gpu(**request)
    assert np.abs(expected.frames.astype(int) - found.frames).max() <= 2  # of 255
    assert np.abs(expected.audio - found.audio).max() < 1e-2


def test_offload_makes_the_same_and_leaves_the_gpu_empty(on_gpu: SyncFlowPipeline, gpu: str) -> None:
    expected = made(on_gpu, prompt="rain", video=PICTURE)
    offloaded = tiny_pipeline()
    offloaded.enable_model_cpu_offload(device=gpu)
    assert apart(expected, made(offloaded, prompt="rain", video=PICTURE)) < 1e-6
    parts = [getattr(offloaded, name) for name in offloaded.model_cpu_offload_seq.split("->")]
    assert {parameter.device.type for part in parts for parameter in part.parameters()} == {"cpu"}


@pytest.mark.parametrize("way", ["text to clip", "text to picture", "negative prompt, guidance in a part"])
def test_graphs_make_the_same_and_are_recorded_once(on_gpu: SyncFlowPipeline, way: str) -> None:
    expected = made(on_gpu, **WAYS[way])
    on_gpu.graphs = Graphs()
    for _ in range(2):
        assert apart(expected, made(on_gpu, **WAYS[way])) < 1e-6
        recorded = list(on_gpu.graphs.recorded)
    assert 1 <= len(recorded) <= 2  # with guidance and without
    made(on_gpu, **(WAYS[way] | {"seed": 4}))
    assert list(on_gpu.graphs.recorded) == recorded


@pytest.mark.slow
def test_compiled_blocks_make_the_same(on_gpu: SyncFlowPipeline) -> None:
    expected = made(on_gpu, **WAYS["video to sound"])
    compile_blocks(on_gpu.dual_dit, setting="speed.compile")
    assert apart(expected, made(on_gpu, **WAYS["video to sound"])) < 1e-4
