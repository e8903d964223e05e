"""How far products in float8 move features, clips and losses of stage audio, with the shipped weights.

    python pipelines/make_demo_clips.py --config tiny/clips --count 80 --output CLIPS
    python pipelines/precompute_latents.py --config tiny/precompute --source.root CLIPS --output LATENTS
    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_float8.py --data LATENTS --output DIR

Errors are norms of a difference over the norm of what it is compared with. All runs have the same seeds.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.data.batches import LatentDataset
from syncflow.flow.config import GuidanceConfig
from syncflow.model.float8 import compute_in_float8
from syncflow.records import AVLatents
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.shipped import find_preset
from syncflow.training.loop import Callback
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.run import run_stage

WAYS = ("float32", "bfloat16", "float8")
AGAINST = (("bfloat16", "float32"), ("float8", "float32"), ("float8", "bfloat16"))
TIMES = (0.1, 0.5, 0.9, 1.0)  # flow times; 1: the finished video
PROMPTS = ["a wooden stick hits metal twice", "a stick strikes wood", "glass is hit three times", "cloth"]


class BenchConfig(Config):
    """What is compared."""

    data: Path
    """Dataset of latents of the shipped autoencoders."""
    output: Path
    """Folder for the training runs and figures.json."""
    parts: tuple[Literal["features", "clips", "losses"], ...] = ("features", "clips", "losses")
    """What of it."""
    steps: int = Field(default=60, ge=1)
    """Updates of stage audio with each precision, from the shipped weights; validated at the end."""
    batch_size: int = Field(default=8, ge=1)
    """Windows of an update."""
    windows: int = Field(default=16, ge=1)
    """Windows whose features are compared."""
    solver_steps: int = Field(default=25, ge=1)
    """Steps of the clips that are compared."""


class Losses(Callback):
    """The losses of each step, and the last of all metrics."""

    def __init__(self) -> None:
        self.of_steps: list[float] = []
        self.last: dict[str, float] = {}

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.last |= metrics
        if "loss" in metrics:
            self.of_steps.append(metrics["loss"])


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def pipeline_of(way: str) -> SyncFlowPipeline:
    dtype = torch.float32 if way == "float32" else torch.bfloat16
    parts = {"dual_dit": dtype, "default": torch.float32}
    pipeline = SyncFlowPipeline.from_pretrained("tiny", dtype=parts)
    pipeline.set_progress_bar_config(disable=True)
    if way == "float8":
        print(compute_in_float8(pipeline.dual_dit, ["video_tower", "audio_tower"], setting="speed.fp8"))
    return pipeline


@torch.no_grad()
def features_of(pipeline: SyncFlowPipeline, config: BenchConfig) -> dict[str, list[Tensor]]:
    """Features of every layer at each flow time, of the dataset's first windows."""
    data = LatentDataset(config.data)
    batch = data.batch(0, batch_size=config.windows, drop_probability=0.0)
    z = batch.latents.video
    assert z is not None
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    size = {"fps": float(data.spec.fps), "height": data.spec.height, "width": data.spec.width}
    found = {}
    for t in TIMES:
        x_t = (1 - t) * noise + t * z
        times = torch.full((len(z),), t)
        found[f"t {t:g}"] = list(pipeline.dual_dit.video(x_t, times, batch.text, **size).features)
    return found


def clips_of(pipeline: SyncFlowPipeline, config: BenchConfig) -> AVLatents:
    """Latents of clips, as the tiny preset makes them."""
    made = pipeline(
        PROMPTS,
        seed=0,
        num_inference_steps=config.solver_steps,
        guidance=GuidanceConfig(scale=1.5, audio_scale=2.0),
        clean_video=True,
        output_type="latent",
    )
    return AVLatents(video=made.frames, audio=made.audio)  # type: ignore[union-attr]


def losses_of(way: str, config: BenchConfig) -> Losses:
    """Of stage audio from the shipped weights, with finished videos, as the tiny preset."""
    preset = load_config(TrainConfig, find_preset(Path("tiny/audio")))
    changes = {
        "data": config.data,
        "output": config.output / way,
        "initialise_from": "tiny",
        "steps": config.steps,
        "batch_size": config.batch_size,
        "accumulate": 1,
        "workers": 1,
        "log_every": 1,
        "validate_every": config.steps,
        "samples": preset.samples.model_copy(update={"every": 0}),
        "frozen_fp8": way == "float8",
        "engine": preset.engine.model_copy(update={"kind": "torch", "bf16": way != "float32"}),
    }
    losses = Losses()
    run_stage(TrainConfig.model_validate(dict(preset) | changes), callbacks=[losses])
    return losses


Figures = dict[str, object]


def compare_features(config: BenchConfig) -> Figures:
    features = {way: features_of(pipeline_of(way), config) for way in WAYS}
    return {
        f"{way} against {other}, {t}, by layer": [
            apart(*pair) for pair in zip(layers, features[other][t], strict=True)
        ]
        for way, other in AGAINST
        for t, layers in features[way].items()
    }


def compare_clips(config: BenchConfig) -> Figures:
    clips = {way: clips_of(pipeline_of(way), config) for way in WAYS}
    return {
        f"{way} against {other}": {
            part: apart(getattr(clips[way], part), getattr(clips[other], part)) for part in ("video", "audio")
        }
        for way, other in AGAINST
    }


def compare_losses(config: BenchConfig) -> Figures:
    losses = {way: losses_of(way, config) for way in WAYS}
    figures: Figures = {}
    for way, other in AGAINST:
        gap = np.abs(np.array(losses[way].of_steps) / np.array(losses[other].of_steps) - 1)
        figures[f"{way} against {other}, relative, mean and most of the steps"] = [gap.mean(), gap.max()]
    for way, found in losses.items():
        figures[f"{way}, mean of the second half"] = float(
            np.mean(found.of_steps[len(found.of_steps) // 2 :])
        )
        figures[f"{way}, at the end"] = {
            name: value for name, value in found.last.items()
            if name.startswith("validation/") and "by_time" not in name
        }  # fmt: skip
    return figures


def main() -> None:
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    works = {"features": compare_features, "clips": compare_clips, "losses": compare_losses}
    figures = {part: works[part](config) for part in config.parts}
    text = json.dumps(figures, indent=1)
    config.output.mkdir(parents=True, exist_ok=True)
    (config.output / "figures.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run(main)
