"""A step of a stage in two checkouts, in turns: what changes in between have done to its time on a CPU.

    git worktree add OLDER COMMIT
    OMP_NUM_THREADS=1 python benchmarks/bench_versions.py --older OLDER --stage audio

Each checkout has a process of its own, which makes the stage's model and batches of random latents and
then computes a few steps (forward, backward, clipping, AdamW) whenever it is asked to. The times are the
processes' own, so that other work does not decide; the median of the ratios counts.
"""

import importlib
import inspect
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parents[1]
PLACES = {  # by its name now, then by earlier names
    "TrainConfig": ("syncflow.training.stage.config", "syncflow.training.config"),
    "FlowObjective": ("syncflow.training.stage.objective", "syncflow.training.objective"),
    "stage_adamw": ("syncflow.training.stage.objective", "syncflow.training.schedule"),
    "STAGES": ("syncflow.training.stage.stages", "syncflow.training.stages"),
    "keep_freed_memory": ("syncflow.training.memory",),
}
BATCHES = 4  # that take turns
SHAPES = {"video": (8, 9, 8, 8), "audio": (100, 32)}  # of the tiny preset's latents
TEXT = (20, 64)


def find(name: str, *, otherwise: Any = None) -> Any:
    """What is called `name` in the checkout on PYTHONPATH; `otherwise` where it has none, if given."""
    for place in PLACES[name]:
        try:
            return getattr(importlib.import_module(place), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    if otherwise is not None:
        return otherwise
    raise SystemExit(f"no {name} in {', '.join(PLACES[name])}")


def work(stage: str, features_gb: str, steps: int) -> None:
    """One checkout's process: for each line that comes in, seconds of `steps` steps."""
    import torch

    from syncflow.config import load_config
    from syncflow.model.dual_dit import DualDiT
    from syncflow.records import AVLatents, ClipSpec, LatentBatch, TextBatch

    find("keep_freed_memory", otherwise=lambda: None)()  # as the training loop does
    torch.manual_seed(0)
    preset = Path("pipelines/configs/tiny") / f"{stage}.yaml"
    config = load_config(find("TrainConfig"), preset, {"data": "none", "initialise_from": "none"})
    accepted = inspect.signature(find("FlowObjective")).parameters
    given = {
        "stage": find("STAGES")[stage],
        "flow": config.flow,
        "spec": ClipSpec(height=64, width=64),
        "frame_times": tuple((frame / 4, (frame + 1) / 4) for frame in range(SHAPES["video"][1])),
        "seed": 0,
        "features_gb": float(features_gb),
    }
    objective = find("FlowObjective")(
        DualDiT(**config.model.model_dump()), **{n: v for n, v in given.items() if n in accepted}
    )
    optimizer, batches = find("stage_adamw")(objective, config), []
    for number in range(BATCHES):
        index = torch.arange(config.batch_size) + number * config.batch_size
        batches.append(
            LatentBatch(
                latents=AVLatents(
                    **{part: torch.randn(len(index), *shape) for part, shape in SHAPES.items()}
                ),
                text=TextBatch(
                    tokens=torch.randn(len(index), *TEXT, dtype=torch.float16),
                    mask=torch.ones(len(index), TEXT[0], dtype=torch.bool),
                    dropped=index % 10 == 9,
                ),
                index=index,
                noise_index=index,
                **({"window": index} if float(features_gb) else {}),
            )
        )
    for line in sys.stdin:
        start = time.process_time()
        for step in range(steps):
            optimizer.zero_grad()
            objective(batches[(int(line) + step) % BATCHES])["loss"].backward()
            torch.nn.utils.clip_grad_norm_(objective.trained.parameters(), config.optimizer.clip_norm)
            optimizer.step()
        print(time.process_time() - start, flush=True)


class Version:
    """A checkout's process."""

    def __init__(self, folder: Path, *, stage: str, features_gb: float, steps: int) -> None:
        self.steps = steps
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", stage, str(features_gb), str(steps)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, turn: int) -> float:
        """Of one step."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{turn * self.steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / self.steps

    def end(self) -> None:
        self.process.communicate()


def main() -> None:
    from pydantic import Field

    from syncflow.command_line import parse_arguments
    from syncflow.config import Config

    class BenchConfig(Config):
        """What is compared."""

        older: Path
        """Folder of the other checkout."""
        stage: Literal["video", "audio", "joint"] = "audio"
        """The stage, by its tiny preset."""
        steps: int = Field(default=4, ge=1)
        """Steps a turn."""
        turns: int = Field(default=7, ge=1)
        """Turns that count; one more comes before."""

    config = parse_arguments(BenchConfig, description=__doc__ or "")
    folders = {"older": (config.older.resolve(), 0.0), "this one": (HERE, 0.0)}
    if config.stage == "audio":
        folders["this one, features known"] = (HERE, 1.0)
    rivals = {
        name: Version(folder, stage=config.stage, features_gb=gb, steps=config.steps)
        for name, (folder, gb) in folders.items()
    }
    found = [
        {name: rival.seconds(turn) for name, rival in rivals.items()} for turn in range(config.turns + 1)
    ][1:]
    for name, rival in rivals.items():
        rival.end()
        ratio = statistics.median(turn["older"] / turn[name] for turn in found)
        seconds = statistics.median(turn[name] for turn in found)
        print(f"{name:28} {1e3 * seconds:7.1f} ms a step, {ratio:.3f} times as fast as the older")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:4], steps=int(sys.argv[4]))
    else:
        main()
