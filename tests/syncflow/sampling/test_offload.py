"""Model offload: one part at a time leaves the CPU (accelerate's hooks, their moves recorded)."""

import pytest
import torch

from syncflow.sampling.pipeline import SyncFlowPipeline
from tests.syncflow.sampling.conftest import tiny_pipeline


class Hook:
    """Stands where accelerate's hook does: says when its part comes and goes."""

    def __init__(self, model: torch.nn.Module, awake: set[int], most: list[int]) -> None:
        self.model, self.awake, self.most, self.hook = model, awake, most, self

    def pre_forward(self, module: torch.nn.Module) -> None:
        self.awake.add(id(module))
        self.most.append(len(self.awake))

    def offload(self) -> None:
        self.awake.discard(id(self.model))


@pytest.fixture
def watched() -> tuple[SyncFlowPipeline, set[int], list[int]]:
    pipeline, awake, most = tiny_pipeline(), set(), []
    parts = [getattr(pipeline, name) for name in pipeline.model_cpu_offload_seq.split("->")]
    pipeline._all_hooks = [Hook(part, awake, most) for part in parts]
    for hook in pipeline._all_hooks:
        part = hook.model

        def running(module: torch.nn.Module, _inputs: object, part: torch.nn.Module = part) -> None:
            assert id(part) in awake, f"{type(module).__name__} runs while its part is off the GPU"

        for module in part.modules():
            module.register_forward_pre_hook(running)
    return pipeline, awake, most


def test_only_the_part_that_runs_is_on_the_gpu(
    watched: tuple[SyncFlowPipeline, set[int], list[int]],
) -> None:
    pipeline, awake, most = watched
    video = torch.zeros(8, 32, 32, 3, dtype=torch.uint8).numpy()
    sound = torch.zeros(24_000).numpy()
    pipeline("rain", video=video, audio=sound, keep_audio=[(0, 0.2)], num_inference_steps=1, seed=0)
    assert most == [1] * 6  # video VAE, audio VAE, text, towers, video VAE, audio VAE
    assert not awake


def test_a_pipeline_moves_to_another_type_whole() -> None:
    pipeline = tiny_pipeline()
    exact = pipeline("rain", num_inference_steps=2, seed=0, output_type="latent", guidance_scale=1.0)
    pipeline.to(torch.bfloat16)
    rough = pipeline("rain", num_inference_steps=2, seed=0, output_type="latent", guidance_scale=1.0)
    assert rough.frames.dtype == torch.float32
    for one, other in ((exact.frames, rough.frames), (exact.audio, rough.audio)):
        assert 0 < float((one - other).norm() / one.norm()) < 0.1
    assert pipeline("rain", num_inference_steps=1, seed=0).frames.shape == (1, 8, 32, 32, 3)
