"""What each way to sample faster costs: seconds a clip beside the sync score, on held-out clips.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_quality.py --checkpoint DIR --clips DIR

The clips' pictures get new sound, and their captions become clips. All settings have the same noise, so it
is also said how far from the first's the results are: sounds in mel distance, pictures in PSNR.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.evaluation.mel import mel_distance_db
from syncflow.evaluation.suite import summarise
from syncflow.flow.config import SolverConfig
from syncflow.generation.config import GenerateConfig
from syncflow.generation.loading import load_pipeline
from syncflow.records import ClipSpec
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.studies.audio_for_clips import HeldOutVideo, read_videos, score_audio

FIRST: dict[str, Any] = {"solver": SolverConfig(steps=50), "guidance_scale": 2.0, "clean_video": True}
WAYS: dict[str, dict[str, Any]] = {
    "50 steps, guidance 2": {},
    "25 steps": {"solver": SolverConfig(steps=25)},
    "10 steps": {"solver": SolverConfig(steps=10)},
    "10 steps, ab2": {"solver": SolverConfig(steps=10, method="ab2")},
    "guidance in [0, 0.5]": {"guidance_interval": (0.0, 0.5)},
    "no guidance": {"guidance_scale": 1.0},
    "picture at the sound's time": {"clean_video": False, "video_steps_per_batch": 8},
    "in bfloat16": {},
    "in bfloat16, products in float8": {},
}
TEXT_ONLY: dict[str, dict[str, Any]] = {
    "50 steps, guidance 2": {},
    "25 steps": {"solver": SolverConfig(steps=25)},
    "video tower every 2nd time": {"video_every": 2},
    "video tower every 4th time": {"video_every": 4},
    "both at one time": {"clean_video": False},
    "in bfloat16": {},
    "in bfloat16, products in float8": {},
}
PRECISIONS: dict[str, dict[str, Any]] = {
    "in bfloat16": {"dtype": "bfloat16"},
    "in bfloat16, products in float8": {"dtype": "bfloat16", "speed": {"fp8": True}},
}  # of the towers; all other ways are in float32


class BenchConfig(Config):
    """What is sampled."""

    checkpoint: Path
    """Checkpoint of stage audio or joint."""
    clips: Path
    """Folder of clips; those of its test.txt."""
    limit: int = Field(default=32, ge=2)
    """Clips."""
    texts: int = Field(default=16, ge=0)
    """Captions that become clips."""
    ways: tuple[str, ...] = ()
    """Names of the ways beside the first, for example `in bfloat16`; none: all."""


def main() -> None:
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    pipelines = {
        name: load_pipeline(
            GenerateConfig(checkpoint=config.checkpoint, output=Path("unused"), **settings)
        ).pipeline
        for name, settings in {"": {}, **PRECISIONS}.items()
        if not (name and config.ways) or name in config.ways
    }
    saved = pipelines[""].config
    spec = ClipSpec(height=saved["height"], width=saved["width"], fps=saved["fps"])
    pictures = read_videos(config.clips, spec=spec, limit=config.limit)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {config}")
    print("video to sound")
    compare(pipelines, pictures, chosen(WAYS, config), given=True)
    if config.texts:
        print("text to clip")
        compare(pipelines, pictures[: config.texts], chosen(TEXT_ONLY, config), given=False)


def chosen(ways: dict[str, dict[str, Any]], config: BenchConfig) -> dict[str, dict[str, Any]]:
    """The first way, and those that are asked for."""
    return {name: way for name, way in ways.items() if not (way or name in PRECISIONS) or not config.ways
            or name in config.ways}  # fmt: skip


def compare(
    pipelines: dict[str, SyncFlowPipeline],
    pictures: list[HeldOutVideo],
    ways: dict[str, dict[str, Any]],
    *,
    given: bool,
) -> None:
    first = None
    for name, way in ways.items():
        pipeline = pipelines.get(name, pipelines[""])
        start = time.process_time()
        frames, sounds = make(pipeline, pictures, FIRST | way, given=given)
        seconds = (time.process_time() - start) / len(pictures)
        first = first or (frames, sounds)
        rate = pipeline.audio_vae.config.sample_rate
        seen = [
            HeldOutVideo(name=p.name, prompt=p.prompt, frames=own)
            for p, own in zip(pictures, frames, strict=True)
        ]
        found = summarise(
            name, score_audio(seen, sounds, fps=pipeline.config["fps"], sample_rate=rate, tolerance_s=0.1)
        )
        apart = np.mean(
            [mel_distance_db(a, b, sample_rate=rate) for a, b in zip(first[1], sounds, strict=True)]
        )
        error = np.mean((first[0].astype(np.float32) - frames.astype(np.float32)) ** 2)
        psnr = "" if error == 0 else f"  pictures {10 * np.log10(255**2 / error):.1f} dB PSNR"
        print(
            f"{name:32} {seconds:6.2f} s a clip  sync F1 {found.f1:.3f} ({found.f1_low:.3f} to "
            f"{found.f1_high:.3f}), by chance {found.chance_f1:.3f}  sounds apart {apart:.1f} dB{psnr}",
            flush=True,
        )


def make(
    pipeline: SyncFlowPipeline, pictures: list[HeldOutVideo], way: dict[str, Any], *, given: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Frames `b f h w c` and sounds `b m`, eight clips at once."""
    frames, sounds = [], []
    for start in range(0, len(pictures), 8):
        part = pictures[start : start + 8]
        video = np.stack([picture.frames for picture in part]) if given else None
        made = pipeline(
            [picture.prompt for picture in part],
            video=video,
            seed=0,
            index=range(start, start + len(part)),
            **way,
        )
        frames.append(video if given else made.frames)
        sounds.append(made.audio)
    return np.concatenate(frames), np.concatenate(sounds)


if __name__ == "__main__":
    run(main)
