"""Settings of small runs of `generate_clips` over a saved pipeline."""

from pathlib import Path

from syncflow.flow.config import SolverConfig
from syncflow.records import ClipSpec
from syncflow.systems.config import GenerateConfig
from syncflow.systems.generate import generate_clips
from syncflow.systems.plan import plan_clips
from syncflow.systems.rows import read_rows
from syncflow.systems.sidecar import Sidecar

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
