"""Interrupt trainings at random steps, and compare what they end with to a training that nobody interrupted.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/check_resume.py --output DIR

SIGTERM, SIGKILL and Ctrl-C (SIGINT) go in turns to the process that a user started and to one of its workers,
in stage `audio` of a small model, the audio VAE with discriminators and the video VAE. What ended is started
again by the same call. After SIGTERM and Ctrl-C no step may be done twice, and the exit status is 0 and
130; after SIGKILL a job goes on from its last state, by itself where a worker was killed. The weights at the
end must be the unbroken training's bit for bit; after 2 -> 1 -> 2 workers within 1e-5 of their norm, in plain
torch and ZeRO 0 to 3. Every process has another global seed: frozen weights that were not read from their
checkpoint would show. Exit status 1 says that something was otherwise.

With `--launcher ray` each start takes half a minute. The same folder with another `--seed` and few signals
goes on from what is there; the table is of all that the folder holds:

    for seed in 0 1 2 3 4; do
      python benchmarks/check_resume.py --output DIR --launcher ray --tasks stage --moves \
        --sigterm 2 --sigkill 2 --ctrl-c 2 --seed $seed
    done
"""

import json
import math
import multiprocessing.process
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from resume_jobs import SPAWNED_FROM_A_SERVER, Job, Launcher, Task, prepare, start
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from infra.executors.local_cluster import QUIET
from syncflow.checkpoint import CheckpointManifest
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.errors import UserError

Kind = Literal["SIGTERM", "SIGKILL", "SIGINT"]
Victim = Literal["driver", "worker"]
EngineName = Literal["torch", "zero0", "zero1", "zero2", "zero3"]
STATUS: dict[Kind, int] = {"SIGTERM": 0, "SIGKILL": -9, "SIGINT": 130}  # of a driver that was not let finish
PATIENCE_S = 600.0
TOLERANCE = 1e-5
RESULTS = "results.jsonl"
MARGIN = 20  # steps at the end without a signal: a step or more goes by before each arrives


class CheckConfig(Config):
    """What is interrupted, and how often."""

    output: Path = Path("out/check_resume")
    """Folder for everything; one that has been checked with the same settings is gone on with."""
    tasks: tuple[Task, ...] = ("stage", "audio_vae", "video_vae")
    """What trains."""
    sigterm: int = Field(default=10, ge=0)
    """SIGTERMs to each task, to the driver and a worker in turns."""
    sigkill: int = Field(default=10, ge=0)
    """SIGKILLs, likewise."""
    ctrl_c: int = Field(default=10, ge=0)
    """SIGINTs, likewise."""
    launcher: Launcher = "fork"
    """What starts the workers: `ray`, as in train_stage.py (20 s each time), or `fork`, in a second."""
    engine: EngineName = "torch"
    """Of the stage that is interrupted."""
    moves: tuple[EngineName, ...] = ("torch", "zero0", "zero1", "zero2", "zero3")
    """Engines in which the stage goes from 2 workers to 1 and to 2 again; forked."""
    steps: int = Field(default=100, ge=MARGIN + 4)
    """Updates of each training."""
    state_every: int = Field(default=4, ge=1)
    """Updates between states."""
    seed: int = 0
    """Of the moments and the workers; signals with another seed are added to those before."""


@dataclass
class Found:
    """One training that was interrupted, and how it ended."""

    task: Task
    kind: Kind
    every: int  # steps between states
    victims: list[Victim] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)  # of drivers that ended by it
    lost: list[int] = field(default_factory=list)  # steps done again, at each start
    equal: bool = False

    @property
    def is_right(self) -> bool:
        most = 0 if self.kind != "SIGKILL" else 2 * self.every  # a state may be under way
        return (
            self.equal
            and len(self.lost) == len(self.victims)
            and max(self.lost, default=0) <= most
            and set(self.statuses) <= {STATUS[self.kind]}
        )


def interrupted(job: Job, kind: Kind, *, count: int, draw: random.Random) -> Found:
    """Train to the end with `count` signals on the way."""
    found, driver, starts = Found(job.task, kind, job.every), start(job), 0
    for number, step in enumerate(sorted(draw.sample(range(1, job.steps - MARGIN), count))):
        victim: Victim = "worker" if number % 2 else "driver"
        _reach(job, step, driver, after=starts)
        time.sleep(draw.uniform(0, 0.05))  # within a step, while a state is written, or between
        target = driver.pid
        if victim == "worker":
            target = int((job.folder / f"worker_{draw.randrange(job.workers)}").read_text())
        starts = len(_starts(job))
        assert target is not None
        _check_alive(driver, job)
        os.kill(target, signal.Signals[kind])
        found.victims.append(victim)
        if kind == "SIGKILL" and victim == "worker":  # the job is to see to it
            while len(_starts(job)) == starts:
                _check_alive(driver, job)
                time.sleep(0.002)
            continue
        driver.join(PATIENCE_S)
        found.statuses.append(driver.exitcode)
        driver = start(job)
    driver.join(PATIENCE_S)
    if driver.exitcode != 0:
        raise SystemExit(f"{job.name} ended with {driver.exitcode}; see {job.log}")
    found.lost = [reached - again for reached, again in _starts(job)[1:]]
    return found


def _trace(job: Job) -> list[str]:
    trace = job.folder / "trace"
    return trace.read_text().split("\n")[:-1] if trace.exists() else []


def _starts(job: Job) -> list[tuple[int, int]]:
    """At each start of the workers: the last step done before, and the step it goes on from."""
    reached, starts = 0, []
    for line in _trace(job):
        word, _, step = line.rpartition(" ")
        if word:
            starts.append((reached, int(step)))
        else:
            reached = int(step)
    return starts


def _reach(job: Job, step: int, driver: multiprocessing.process.BaseProcess, *, after: int) -> None:
    """Wait until the workers have started more than `after` times, and done a step."""
    while len(_starts(job)) <= after or not (last := _trace(job)[-1]).isdigit() or int(last) < step:
        _check_alive(driver, job)
        time.sleep(0.002)


def _check_alive(driver: multiprocessing.process.BaseProcess, job: Job) -> None:
    if not driver.is_alive():
        told = "give more --steps" if driver.exitcode == 0 else f"see {job.log}"
        raise SystemExit(f"{job.name} ended by itself with {driver.exitcode} before its last signal; {told}")


def finished(job: Job) -> dict[str, torch.Tensor]:
    """Train without interruption; the weights."""
    driver = start(job)
    driver.join()
    if driver.exitcode != 0:
        raise SystemExit(f"{job.name} ended with {driver.exitcode}; see {job.log}")
    return load_file(job.weights)


def moved(job: Job) -> dict[str, torch.Tensor]:
    """A third with two workers, a third with one, a third with two."""
    third = job.steps // 3
    for workers, steps in ((2, third), (1, 2 * third), (2, job.steps)):
        made = finished(replace(job, workers=workers, steps=steps))
    return made


def norm(tensors: Mapping[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_interruptions(config: CheckConfig, base: Job) -> Iterator[Found]:
    """One training for each kind of signal, unless it has been done, and the unbroken one before."""
    counts: dict[Kind, int] = {"SIGTERM": config.sigterm, "SIGKILL": config.sigkill, "SIGINT": config.ctrl_c}
    names: dict[Kind, str] = {kind: f"{base.task}_{kind.lower()}_{config.seed}" for kind in counts}
    done = {name for name, _ in results(base.root)}
    todo = [kind for kind, count in counts.items() if count and names[kind] not in done]
    whole = replace(base, name=f"{base.task}_whole")
    unbroken = load_file(whole.weights) if whole.weights.exists() else finished(whole) if todo else {}
    for kind in todo:
        draw = random.Random(f"{config.seed} {base.task} {kind}")
        job = replace(base, name=names[kind])
        shutil.rmtree(job.root / job.name, ignore_errors=True)  # of a check that was cut off
        found = interrupted(job, kind, count=counts[kind], draw=draw)
        found.equal = equal(unbroken, load_file(job.weights)) and _is_still_frozen(job)
        with (base.root / RESULTS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([job.name, asdict(found)]) + "\n")
        yield found


def results(root: Path) -> list[tuple[str, Found]]:
    """The interrupted trainings that the folder knows the ends of, by name."""
    if not (root / RESULTS).exists():
        return []
    lines = (root / RESULTS).read_text(encoding="utf-8").splitlines()
    return [(name, Found(**found)) for name, found in map(json.loads, lines)]


def prepare_once(config: CheckConfig, root: Path) -> None:
    """The data, unless the folder has been checked before with the same settings.

    Raises:
        UserError: it has been with others, or its data was never finished.
    """
    note = root / "check.json"
    same = config.model_dump(mode="json", include={"tasks", "launcher", "engine", "steps", "state_every"})
    if not root.exists():
        prepare(root, config.tasks)
        note.write_text(json.dumps(same), encoding="utf-8")
        return
    if not note.exists():
        raise UserError(f"output {root}: exists, and is no folder of a check; give a new one")
    if (before := json.loads(note.read_text(encoding="utf-8"))) != same:
        raise UserError(f"output {root}: was checked with {before}, and not {same}; give a new folder")


def _is_still_frozen(job: Job) -> bool:
    if job.task != "stage":
        return True
    folders = (job.root / "before" / "video" / "checkpoint", job.weights.parent)
    before, after = (CheckpointManifest.read(folder).parts["video_tower"] for folder in folders)
    return before == after


def check_moves(config: CheckConfig, base: Job) -> Iterator[tuple[Job, float]]:
    """For each engine: how far 2 -> 1 -> 2 workers end from 2 all along."""
    for engine in config.moves if base.task == "stage" else ():
        job = replace(base, engine=engine, launcher="fork")
        jobs = [replace(job, name=f"{job.task}_{engine}_{name}") for name in ("two", "moved")]
        for each in jobs:
            shutil.rmtree(job.root / each.name, ignore_errors=True)
        whole, other = finished(jobs[0]), moved(jobs[1])
        yield job, norm({name: whole[name].float() - other[name].float() for name in whole}) / norm(whole)


def check(config: CheckConfig) -> int:
    os.environ.update({**QUIET, "OMP_NUM_THREADS": "1"})
    preload = [
        "syncflow.training.stage.run",
        "syncflow.training.autoencoder.run",
        "infra.executors.supervisor",
    ]
    SPAWNED_FROM_A_SERVER.set_forkserver_preload([*preload, "resume_jobs"])
    if (most := max(config.sigterm, config.sigkill, config.ctrl_c)) >= config.steps - MARGIN:
        raise UserError(f"steps {config.steps}: too few for {most} signals; give {most + MARGIN + 1} or more")
    root = config.output.resolve()
    prepare_once(config, root)
    moves = []
    for task in config.tasks:
        base = Job(task=task, root=root, name="", steps=config.steps, every=config.state_every)
        broken = replace(base, launcher=config.launcher, engine=config.engine if task == "stage" else "torch")
        for found in check_interruptions(config, broken):
            told = f"steps done again {found.lost}, exits {found.statuses}"
            print(
                f"{task}, {found.kind} to {', '.join(found.victims)}: {told}, equal: {found.equal}",
                flush=True,
            )
        for job, apart in check_moves(config, base):
            moves.append((job, apart))
            print(f"{task}, {job.engine}: 2 -> 1 -> 2 workers apart by {apart:.1e} of the norm", flush=True)
    interruptions = [found for _, found in results(root)]
    show_interruptions(config, interruptions)
    show_moves(config, moves)
    right = [found.is_right for found in interruptions] + [apart <= TOLERANCE for _, apart in moves]
    return 0 if all(right) else 1


def show_interruptions(config: CheckConfig, all_found: list[Found]) -> None:
    if not all_found:
        return
    names = (
        "task",
        "signal",
        "to driver",
        "to worker",
        "exit",
        "most steps done again",
        "equal bit for bit",
        "",
    )
    title = f"2 workers ({config.launcher}), {config.steps} steps, a state every {config.state_every}"
    table = Table(*names, title=title)
    for task, kind in dict.fromkeys((found.task, found.kind) for found in all_found):
        those = [found for found in all_found if (found.task, found.kind) == (task, kind)]
        victims = [victim for found in those for victim in found.victims]
        statuses = {str(status) for found in those for status in found.statuses}
        most = max((steps for found in those for steps in found.lost), default=0)
        row = [task, kind, str(victims.count("driver")), str(victims.count("worker"))]
        row += [", ".join(sorted(statuses)), str(most)]
        row += ["yes" if all(found.equal for found in those) else "no"]
        table.add_row(*row, "right" if all(found.is_right for found in those) else "WRONG")
    Console(width=110).print(table)


def show_moves(config: CheckConfig, moves: list[tuple[Job, float]]) -> None:
    if not moves:
        return
    table = Table(
        "task", "engine", "difference / norm", "", title=f"2 -> 1 -> 2 workers, {config.steps} steps"
    )
    for job, apart in moves:
        table.add_row(job.task, job.engine, f"{apart:.1e}", "right" if apart <= TOLERANCE else "WRONG")
    Console(width=110).print(table)


if __name__ == "__main__":
    run(lambda: check(parse_arguments(CheckConfig, description=__doc__ or "")))
