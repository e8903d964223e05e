"""Audio for held-out videos, scored where it is made: no files between."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from syncflow.errors import UserError
from syncflow.evaluation.suite import ClipScore, list_clips, score_events
from syncflow.evaluation.sync import ClipEvents
from syncflow.flow.config import SolverConfig
from syncflow.media import decode_window
from syncflow.media.clip_folder import captions_by_id, clip_id
from syncflow.media.errors import MediaError
from syncflow.printable import printable
from syncflow.records import ClipSpec
from syncflow.sampling.pipeline import SyncFlowPipeline

BATCH = 8  # clips at once


@dataclass(frozen=True, kw_only=True)
class HeldOutVideo:
    """A held-out clip without its audio."""

    name: str
    prompt: str  # empty: the learned null prompt
    frames: np.ndarray  # uint8 f h w c


def read_videos(folder: Path, *, spec: ClipSpec, limit: int = 0) -> list[HeldOutVideo]:
    """The first windows of the test clips of `folder` (of all where it has no test.txt), with captions.

    A clip that cannot be read is left out, with a line that says why.

    Raises:
        UserError: no clips there, or none can be read.
    """
    prompts = captions_by_id(folder)
    split = "test" if (folder / "test.txt").is_file() and (folder / "test.txt").stat().st_size else "all"
    paths = list_clips(folder, split=split)[: limit or None]
    videos, reasons = [], []
    for path in paths:
        try:
            frames = decode_window(path.resolve(), start_s=0.0, spec=spec)[0]
        except MediaError as error:
            reasons.append(str(error))
            print(f"{printable(str(path))}: left out ({error})", flush=True)
            continue
        videos.append(HeldOutVideo(name=path.stem, prompt=prompts.get(clip_id(path), ""), frames=frames))
    if not videos:
        raise UserError(f"clips {folder}: none of {len(paths)} can be read; the first: {reasons[0]}")
    return videos


@torch.no_grad()
def make_audio(
    pipeline: SyncFlowPipeline,
    videos: Sequence[HeldOutVideo],
    *,
    seed: int,
    solver: SolverConfig,
    guidance: float,
    clean_video: bool = False,
) -> np.ndarray:
    """Zero-shot video to audio (Section 5): float32 `b m`, one waveform per video, noise keyed by place."""
    made = []
    for start in range(0, len(videos), BATCH):
        part = videos[start : start + BATCH]
        prompts = [video.prompt for video in part]
        _, audio = pipeline(
            prompts if all(prompts) else None,
            video=np.stack([video.frames for video in part]),
            guidance_scale=guidance,
            solver=solver,
            clean_video=clean_video,
            seed=seed,
            index=range(start, start + len(part)),
            output_type="latent",
            return_dict=False,
        )
        for latents in audio:
            samples = round(
                part[0].frames.shape[0] / pipeline.config["fps"] * pipeline.audio_vae.config.sample_rate
            )
            made.append(pipeline.audio_vae.decode(latents[None], num_samples=samples)[0].cpu().numpy())
    return np.stack(made)


def score_audio(
    videos: Sequence[HeldOutVideo], audio: np.ndarray, *, fps: float, sample_rate: int, tolerance_s: float
) -> list[ClipScore]:
    """The frames of each clip with the audio made for it and, for chance, with those of all others.

    Args:
        audio: the generated audio of each clip, float32 `b m`.
    """
    events = [
        ClipEvents.of(video.frames, waveform, fps=fps, sample_rate=sample_rate)
        for video, waveform in zip(videos, audio, strict=True)
    ]
    return score_events([video.name for video in videos], events, tolerance_s=tolerance_s)
