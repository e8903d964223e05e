"""Settings of small runs of `generate_clips` over a saved pipeline."""

from pathlib import Path

from syncflow.flow.config import SolverConfig
from syncflow.generation.config import GenerateConfig
from syncflow.generation.plan import plan_clips
from syncflow.generation.requests import read_rows
from syncflow.generation.run import generate_clips
from syncflow.generation.sidecar import Sidecar
from syncflow.records import ClipSpec

PROMPTS = ("wood is hit", "metal rings, loudly", "cloth")
SPEC = ClipSpec(seconds=1.0, height=32, width=48)


def settings(saved: Path, output: Path, **changes: object) -> GenerateConfig:
    values = {
        "prompt": PROMPTS,
        "clip": SPEC,
        "solver": SolverConfig(steps=2),
        "device": "cpu",
        "strip": False,
    }
    return GenerateConfig(checkpoint=saved, output=output, **{**values, **changes})


def make(config: GenerateConfig, score=None) -> list:
    clips = plan_clips(read_rows(config), per_prompt=config.per_prompt)
    return generate_clips(clips, config, score=score)


def latents(folder: Path) -> list[dict[str, str]]:
    return [Sidecar.read(path).latents for path in sorted(folder.glob("*.json"))]
