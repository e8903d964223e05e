"""One time axis: training places the video against the audio where sampling does, and where it is in time."""

from pathlib import Path

import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.data.random_dataset import Sizes, write_dataset
from syncflow.flow.config import FlowConfig
from syncflow.records import ClipSpec
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.stages import STAGES

RATES_AND_LENGTHS = [
    *((8, 1.0), (12, 0.75), (16, 1.23), (16, 2.0), (16, 4.0), (16, 10.0)),
    *((24, 2.0), (25, 1.7), (30, 3.1)),
]


class Heard:
    """Where the audio tower was told that its video tokens stand."""

    def __init__(self, tower: torch.nn.Module) -> None:
        self.positions: list[torch.Tensor] = []
        self.hook = tower.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, tower: torch.nn.Module, arguments: tuple, given: dict) -> None:
        self.positions.append(given["video_positions"].clone())

    def __enter__(self) -> "Heard":
        return self

    def __exit__(self, *raised: object) -> None:
        self.hook.remove()


@pytest.mark.parametrize(("fps", "seconds"), RATES_AND_LENGTHS)
def test_training_and_sampling_place_the_video_alike(
    pipeline: SyncFlowPipeline, tmp_path: Path, fps: int, seconds: float
) -> None:
    spec = ClipSpec(seconds=seconds, fps=fps, height=32, width=32)
    video_vae, audio_vae, model = pipeline.video_vae, pipeline.audio_vae, pipeline.dual_dit
    sizes = Sizes(
        spec=spec,
        video=video_vae.latent_shape(spec),
        audio=audio_vae.latent_shape(spec),
        text_width=32,
        frame_spans=video_vae.frame_spans(spec.num_frames),
    )
    dataset = LatentDataset(write_dataset(tmp_path / "latents", clips=3, sizes=sizes))
    objective = FlowObjective(
        model,
        stage=STAGES["audio"],
        flow=FlowConfig(),
        spec=dataset.spec,
        frame_times=dataset.frame_times,
        seed=0,
    )
    batch = dataset.batch(0, batch_size=2)
    with Heard(model.audio_tower) as training:
        objective.train()(batch)
        objective.eval()(batch)  # the video's own sound, and another's
    sampler = SyncFlowPipeline(
        **pipeline.components, height=32, width=32, num_frames=spec.num_frames, fps=fps
    )
    sampler.set_progress_bar_config(disable=True)
    with Heard(model.audio_tower) as sampling:
        sampler("a stick", num_inference_steps=1, seed=0, output_type="latent")
        sampler("a stick", num_inference_steps=1, seed=0, output_type="latent", video=batch.latents.video[:1])
    assert len(training.positions) == 3 and len(sampling.positions) >= 2
    # the middle of each half of a latent frame's pixel frames, in seconds, at 50 audio latents a second
    truth = [
        50 * (first + share * (last + 1 - first)) / fps
        for first, last in video_vae.frame_spans(spec.num_frames)
        for share in (0.25, 0.75)
    ]
    for positions in (*training.positions, *sampling.positions):
        assert torch.equal(positions, training.positions[0])
        torch.testing.assert_close(positions, torch.tensor(truth), atol=1e-4, rtol=0)
