"""Jobs that make what the rows need: a pipeline, its flags, what it leaves, and the jobs before it."""

import json
import math
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256

ENDED_BY_CTRL_C = 130  # exit status
SOME_FAILED = 3  # exit status of a job in which clips failed, each with its reason


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command."""

    name: str
    pipeline: str  # a file of pipelines/
    flags: tuple[str, ...]
    leaves: Path  # a file that is there when it is done
    needs: tuple[str, ...] = ()

    def command(self, pipelines: Path) -> list[str]:
        """As it is run."""
        return [sys.executable, str(pipelines / self.pipeline), *self.flags]

    def line(self) -> str:
        """As a person would type it."""
        return shlex.join(["python", f"pipelines/{self.pipeline}", *self.flags])


def identity(job: Job, jobs: Mapping[str, Job]) -> str:
    """Hash of its command and those of all jobs before it."""
    return settings_sha256([job.pipeline, job.flags, [identity(jobs[name], jobs) for name in job.needs]])


def is_done(job: Job, jobs: Mapping[str, Job], records: Path) -> bool:
    """Whether its file is there, made by this very command after these very jobs."""
    try:
        record = json.loads((records / f"{job.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return job.leaves.is_file() and record.get("identity") == identity(job, jobs)


def in_order(wanted: Sequence[str], jobs: Mapping[str, Job]) -> list[Job]:
    """`wanted` and all that they need, each once, what is needed first."""
    found: dict[str, Job] = {}

    def add(name: str) -> None:
        if name not in found:
            for before in jobs[name].needs:
                add(before)
            found[name] = jobs[name]

    for name in wanted:
        add(name)
    return list(found.values())


def run_jobs(
    todo: Sequence[Job], jobs: Mapping[str, Job], *, pipelines: Path, records: Path
) -> Iterator[tuple[str, str]]:
    """Run them in turn; name and reason of each that failed. What needs one that failed is passed by."""
    failed: dict[str, str] = {}
    for number, job in enumerate(todo, start=1):
        lost = next((name for name in job.needs if name in failed), "")
        reason = f"needs {lost}" if lost else ""
        if not reason and not is_done(job, jobs, records):
            print(f"[{number}/{len(todo)}] {job.line()}", flush=True)
            reason = _run(job, jobs, pipelines=pipelines, records=records)
        if reason:
            failed[job.name] = reason
            yield job.name, reason


def _run(job: Job, jobs: Mapping[str, Job], *, pipelines: Path, records: Path) -> str:
    """Run one and keep its record; why it failed, or nothing."""
    log, before = records / f"{job.name}.log", _processor_s()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        status = _wait(
            subprocess.Popen(
                job.command(pipelines), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
            )
        )
    if status not in (0, SOME_FAILED) or not job.leaves.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1][:300] if lines else f"it left no {job.leaves.name}"
        return f"{job.pipeline} ended with status {status} ({last}); log: {log}"
    spent = round(_processor_s() - before, 2)
    record = {"identity": identity(job, jobs), "command": job.line(), "processor_s": spent}
    with whole_file(records / f"{job.name}.json") as stream:
        stream.write(json.dumps(record, indent=1).encode())
    return ""


def _processor_s() -> float:
    """Processor time of all ended children, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processor_s(job: Job, records: Path) -> float:
    """What the job took when it was run, seconds of processor time; NaN where that is not known."""
    try:
        record = json.loads((records / f"{job.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return math.nan
    return float(record.get("processor_s", math.nan))


def _wait(process: subprocess.Popen) -> int:
    """Its exit status; a SIGTERM or Ctrl-C goes on to it, and is told once it has ended.

    Raises:
        KeyboardInterrupt: there was one, of us or of the job.
    """
    asked: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked or status in (ENDED_BY_CTRL_C, -signal.SIGINT):
        raise KeyboardInterrupt
    return status


def check_pipelines(folder: Path) -> None:
    """Raises UserError where the pipelines are not in `folder`."""
    if not (folder / "generate.py").is_file():
        raise UserError(f"{folder}: no pipelines there; run reproduce_tables.py from the repository")
