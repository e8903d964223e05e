"""Eight minutes on one GPU: what the model reaches of the card, beside what was foretold.

    make bench-gpu

One process without Ray. Parts run one after the other, each at most as long as its cap, and all as long as
`--minutes`; the JSON file is written again after each, and a table comes last. Without a GPU everything runs
in miniature, to try the benchmark itself; its figures then mean nothing. `--parts` chooses some.
"""

import os
import platform
import sys
from functools import partial
from pathlib import Path

import torch
from gpu_parts.attention import attention
from gpu_parts.ceilings import ceilings, model_products
from gpu_parts.checks import checks
from gpu_parts.float8 import float8
from gpu_parts.kernels import kernels
from gpu_parts.runner import Part, run_parts, show
from gpu_parts.sampling import sampling
from gpu_parts.setting import Setting
from gpu_parts.tower import against_latte
from gpu_parts.training import (
    stage_audio_compiled,
    stage_audio_eager,
    stage_audio_float8,
    stage_audio_one_kernel,
    stage_joint,
    stage_video,
    waiting,
)
from pydantic import Field
from rich.console import Console

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.errors import UserError

WORKS = {  # name: seconds at most, and what is done
    "ceilings": (15, ceilings),
    "checks": (45, checks),
    "products": (15, model_products),
    "waits": (25, waiting),
    "stage audio, eager": (75, stage_audio_eager),
    "attention": (40, attention),
    "stage audio, compiled": (100, stage_audio_compiled),
    "tower": (75, against_latte),
    "stage video": (40, stage_video),
    "stage joint": (40, stage_joint),
    "sampling": (60, sampling),
    "stage audio, one kernel": (45, stage_audio_one_kernel),
    "float8": (60, float8),
    "stage audio, float8": (60, stage_audio_float8),
    "kernels": (20, kernels),
    "ceilings again": (10, ceilings),
}


class BenchConfig(Config):
    """What is run, and where its figures go."""

    output: Path = Path("out/bench_gpu.json")
    """File of the figures; written again after each part."""
    parts: tuple[str, ...] = ()
    """Parts to run, by name; none: all."""
    minutes: float = Field(default=8.0, gt=0)
    """For all parts; those that come last are left out where it is too short."""
    small: bool = not torch.cuda.is_available()
    """Everything in miniature; on a machine without a GPU always."""


def main() -> int:
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    unknown = set(config.parts) - set(WORKS)
    if unknown:
        raise UserError(f"parts {sorted(unknown)}: expected some of {', '.join(WORKS)}")
    on_gpu = torch.cuda.is_available()
    setting = Setting(device="cuda" if on_gpu else "cpu", small=config.small or not on_gpu, ceilings={})
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if on_gpu else "cpu")
    machine = {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU {platform.machine()} (in miniature)",
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "small": setting.small,
    }
    print(machine, file=sys.stderr, flush=True)
    parts = [
        Part(name=name, seconds=seconds, work=partial(work, setting))
        for name, (seconds, work) in WORKS.items()
        if not config.parts or name in config.parts
    ]
    failed = run_parts(parts, output=config.output, machine=machine, limit_s=60 * config.minutes)
    show(config.output, Console(width=130))
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
