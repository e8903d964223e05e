"""At which flow times a video's motion is decided: real videos, noised to a flow time and made again from it.

A video that is made again from flow time t keeps what was decided before t. So long as its strokes still fall
on the audio of the real clip (sync F1), and are as many as the prompt asks for, no later time decides them.
`t = 0` is text to video, whose strokes have nothing to do with the real audio.
"""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from rich.progress import track
from score_small_model import FRESH, find_scenes

from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.evaluation.suite import score_events, summarise
from syncflow.evaluation.sync import ClipEvents
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.generation.config import GenerateConfig
from syncflow.generation.loading import load_pipeline
from syncflow.onsets import TOLERANCE_S


class WhenConfig(Config):
    """Which pipeline, from which flow times."""

    checkpoint: Path
    """A saved pipeline, or a stage's checkpoint."""
    clips: Path
    """Settings of the synthetic clips (the preset that make_demo_clips.py took for training)."""
    times: tuple[float, ...] = (0.9, 0.7, 0.5, 0.3, 0.15, 0.05, 0.0)
    """Flow times to which real videos are noised; 0 is noise alone."""
    prompts: int = Field(default=64, ge=2)
    """Clips, of combinations that training never saw."""
    steps: int = Field(default=25, ge=1)
    """Solver steps from noise to data; from a later time there are as many fewer."""
    guidance: float = Field(default=2.0, ge=0)
    """Guidance of the video."""
    batch_size: int = Field(default=16, ge=1)
    """Clips that are made at once."""


def main() -> None:
    config = parse_arguments(WhenConfig, description=__doc__ or "")
    world = load_config(SyntheticClipsConfig, config.clips)
    torch.set_grad_enabled(False)
    scenes = find_scenes(world, config.prompts, held_out=True, first=FRESH)
    size = {"height": world.size, "width": world.size}
    pipeline = load_pipeline(
        GenerateConfig(checkpoint=config.checkpoint, output=Path("out"), clip=size)  # type: ignore[arg-type]
    ).pipeline
    frames = np.stack([render_frames(scene, size=world.size, fps=world.fps) for scene in scenes])
    audio = [render_audio(scene, sample_rate=world.sample_rate) for scene in scenes]
    asked = [len(scene.impacts) for scene in scenes]

    def row(name: str, videos: np.ndarray) -> str:
        events = [
            ClipEvents.of(video, sound, fps=world.fps, sample_rate=world.sample_rate)
            for video, sound in zip(videos, audio, strict=True)
        ]
        found = summarise(name, score_events([name] * len(events), events, tolerance_s=TOLERANCE_S))
        right = np.mean([len(e.peaks) == n for e, n in zip(events, asked, strict=True)])
        interval = f"{found.f1:.3f} ({found.f1_low:.3f} to {found.f1_high:.3f})"
        return f"| {name} | {interval} | {found.chance_f1:.3f} | {right:.2f} |"

    lines = ["| made again from | sync F1 with the real audio (95 %) | by chance | strokes right by video |"]
    lines += ["|---|---|---|---|", row("real frames", frames)]
    for t in track(config.times, "flow times"):
        made = []
        for first in range(0, len(scenes), config.batch_size):
            part = scenes[first : first + config.batch_size]
            given = frames[first : first + config.batch_size] if t else None
            made.append(
                pipeline(
                    [scene.caption for scene in part],
                    video=given,
                    keep_video="none" if t else "all",
                    strength=1 - t,
                    modalities="video",
                    seed=0,
                    index=range(first, first + len(part)),
                    solver=SolverConfig(steps=config.steps),
                    guidance=GuidanceConfig(scale=config.guidance),
                ).frames
            )
        lines.append(row(f"t = {t:g}", np.concatenate(made)))
    print("\n".join(lines))


if __name__ == "__main__":
    run(main)
