"""A step of stage audio without numbers: its kernels, and the places where it would wait for a GPU."""

import torch
from counting import AsOnCUDA, Counts, KernelCount, patches_share_tiles

from syncflow.flow.config import FlowConfig
from syncflow.model.config import AudioTowerConfig, DualDiTConfig, SampleShape, VideoTowerConfig
from syncflow.model.cost import meta_model
from syncflow.records import AVLatents, ClipSpec, LatentBatch, TextBatch
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.stages import STAGES
from syncflow.training.waits import BlockingCopies


def audio_step(depth: int, *, batch: int, text_tokens: int) -> tuple[Counts, list[str]]:
    """Forward and backward pass as on a GPU: the frozen tower in bfloat16, the others under autocast.

    Clipping, AdamW and the moving average are a few dozen kernels more.
    """
    config = DualDiTConfig(video=VideoTowerConfig(depth=depth), audio=AudioTowerConfig(depth=depth))
    sample, model = SampleShape(), meta_model(config)
    torch.nn.Module.to(model.video_tower, torch.bfloat16)
    objective = FlowObjective(
        model,
        stage=STAGES["audio"],
        flow=FlowConfig(),
        spec=ClipSpec(),
        frame_times=sample.frame_times,
        seed=0,
    )
    index = torch.arange(batch)
    text = TextBatch(
        tokens=torch.zeros(batch, text_tokens, config.video.text_dim, dtype=torch.float16),
        mask=torch.ones(batch, text_tokens, dtype=torch.bool),
        dropped=torch.zeros(batch, dtype=torch.bool),
    )
    latents = AVLatents(
        video=torch.zeros(batch, config.video.in_channels, *sample.video_latents),
        audio=torch.zeros(batch, sample.audio_latents, config.audio.latent_dim),
    )
    given = LatentBatch(latents=latents, text=text, index=index, noise_index=index)
    with patches_share_tiles(), BlockingCopies() as waits, AsOnCUDA(), KernelCount() as kernels:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = objective(given)["loss"]
        loss.backward()
    return kernels.counts, waits.places
