"""Training steps of stage 2 by hand: clips to latents, flow-matching loss (equation 1), updates.

What `pipelines/train_stage.py` does, without dataset, checkpoints and workers.

    python examples/training_step.py
"""

from pathlib import Path

import numpy as np
import torch

from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.scene import plan_scene
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow import SyncFlowPipeline
from syncflow.flow.config import FlowConfig
from syncflow.pixels import frames_to_video
from syncflow.records import AVLatents, ClipSpec, LatentBatch
from syncflow.sampling.prompts import PromptEncoder
from syncflow.training.engine import TorchEngine
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.stages import STAGES

BATCH, STEPS = 4, 3
SPEC = ClipSpec(seconds=2.0, fps=16, height=64, width=64, sample_rate=48_000)


def encode_batch(pipeline: SyncFlowPipeline) -> LatentBatch:
    """Latents of both modalities and embedded captions of a few drawn clips."""
    drawn = SyntheticClipsConfig(output=Path("unused"), size=SPEC.height, seconds=SPEC.seconds, fps=SPEC.fps)
    scenes = [plan_scene(drawn, index=index) for index in range(BATCH)]
    frames = np.stack([render_frames(scene, size=SPEC.height, fps=SPEC.fps) for scene in scenes])
    audio = np.stack([render_audio(scene, sample_rate=SPEC.sample_rate) for scene in scenes])
    text = PromptEncoder(
        model=pipeline.text_encoder,
        tokenizer=pipeline.tokenizer,
        max_tokens=pipeline.config["max_text_tokens"],
        device=torch.device("cpu"),
    ).encode([scene.caption for scene in scenes])
    with torch.no_grad():
        latents = AVLatents(
            video=pipeline.video_vae.encode(frames_to_video(frames)).mean,  # b c t h w
            audio=pipeline.audio_vae.encode(torch.from_numpy(audio)).mean,  # b n d
        )
    index = torch.arange(BATCH)
    return LatentBatch(latents=latents, text=text, index=index, noise_index=index)


def main() -> list[float]:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    batch = encode_batch(pipeline)
    objective = FlowObjective(
        pipeline.dual_dit,
        stage=STAGES["audio"],  # trains adaptors and audio tower; the video tower is frozen
        flow=FlowConfig(),
        spec=SPEC,
        frame_times=pipeline.video_vae.frame_times(SPEC),
        seed=0,
    )
    optimizer = torch.optim.AdamW(objective.trained.parameters(), lr=1e-4)
    engine = TorchEngine(objective, optimizer=optimizer, schedule=lambda step: 1e-4, clip_norm=1.0)
    losses = [float(engine.step([batch], step=step)["loss"]) for step in range(STEPS)]
    print("loss of each step:", ", ".join(f"{loss:.4f}" for loss in losses))
    return losses


if __name__ == "__main__":
    main()
