"""The installed commands: `syncflow-generate` is generate.py, `syncflow-train` is train_stage.py."""

import sys
from importlib import import_module
from pathlib import Path

from syncflow.command_ending import run

SHORT = {"precompute": "precompute_latents", "train": "train_stage"}


def main() -> None:
    """Run the pipeline that the command is named after."""
    name = Path(sys.argv[0]).stem.removeprefix("syncflow-").replace("-", "_")
    run(import_module(f"pipelines.{SHORT.get(name, name)}").main)
