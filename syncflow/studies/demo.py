"""The demo's parts: the commands that a user would type for a large run, with the tiny preset."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from syncflow.errors import UserError
from syncflow.places import sqlite_uri
from syncflow.shipped import PIPELINES, PRESETS
from syncflow.studies.demo_config import DemoConfig


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command of the demo."""

    name: str
    pipeline: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return ["python", str(from_here(PIPELINES / self.pipeline)), *self.arguments]


def from_here(path: Path) -> Path:
    """A path as a user types it: relative to the working directory where it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def demo_parts(config: DemoConfig) -> list[Part]:
    """Clips of the shipped model; then the whole way: data, three stages, generation, scores, comparison."""
    out = config.output
    clips, latents, runs, made = out / "clips", out / "latents", out / "runs", out / "generated"
    tracking, presets = sqlite_uri(out / "mlflow.db"), from_here(PRESETS / "tiny")

    def part(name: str, pipeline: str, preset: str, *arguments: object) -> Part:
        given = ("--config", str(presets / preset)) if preset else ()
        return Part(name=name, pipeline=pipeline, arguments=(*given, *(str(a) for a in arguments)))

    def stage(name: str, steps: int) -> Part:
        extra = ("--steps", steps) if steps else ()
        places = ("--data", latents, "--output", runs, "--run", "demo", "--tracking-uri", tracking)
        return part(f"train: {name}", "train_stage.py", f"{name}.yaml", *places, *extra)

    def generate(name: str, folder: str, *arguments: object) -> Part:
        places = ("--seed", config.seed, "--output", made / folder)
        return part(name, "generate.py", "generate.yaml", *arguments, *places)

    checkpoint = runs / "joint" / "checkpoint"
    return [
        generate("shipped model", "shipped", "--checkpoint", "tiny", "--prompts", presets / "prompts.txt"),
        part("clips", "make_demo_clips.py", "clips.yaml", "--output", clips, "--count", config.clips),
        part(
            "latents", "precompute_latents.py", "precompute.yaml", "--source.root", clips, "--output", latents
        ),
        stage("video", config.video_steps),
        stage("audio", config.audio_steps),
        stage("joint", config.joint_steps),
        generate(
            "text to clip",
            "text_to_clip",
            *("--checkpoint", checkpoint, "--prompts", presets / "prompts.txt"),
        ),
        generate(
            "video to audio",
            "video_to_sound",
            *("--checkpoint", checkpoint, "--video", clips, "--split", "test"),
        ),
        part(
            "scores",
            "evaluate.py",
            "evaluate.yaml",
            *("--clips", clips, made / "shipped", made / "text_to_clip", made / "video_to_sound"),
            *("--metrics.names", "open", "--metrics.reference", clips),
            *("--output", out / "scores", "--run", "demo", "--tracking-uri", tracking),
        ),
        part("comparison", "compare_runs.py", "", "--tracking-uri", tracking, "--output", out / "comparison"),
    ]


def run_parts(parts: Sequence[Part]) -> dict[str, float]:
    """Run each command in turn and return its seconds.

    Raises:
        UserError: one of them failed; its own words are above.
    """
    console, seconds = Console(), {}
    for number, part in enumerate(parts, start=1):
        console.rule(f"[bold]{number} of {len(parts)}: {part.name}")
        console.print("$ " + " ".join(part.command), style="dim", soft_wrap=True, highlight=False)
        started = time.monotonic()
        status = subprocess.run([sys.executable, *part.command[1:]], check=False).returncode
        seconds[part.name] = time.monotonic() - started
        if status:
            raise UserError(f"demo: the part {part.name!r} ended with status {status}; its message is above")
    return seconds


def print_times(seconds: dict[str, float]) -> None:
    """Time of each part, and of the whole."""
    table = Table("part", "seconds", title="times")
    table.columns[1].justify = "right"
    for name, value in seconds.items():
        table.add_row(name, f"{value:.0f}")
    table.add_row("all", f"{sum(seconds.values()):.0f}", style="bold")
    Console().print(table)
