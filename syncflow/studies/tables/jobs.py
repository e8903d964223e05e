"""Jobs that make what the rows need: a pipeline, its flags, what it leaves, and the jobs before it."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import file_sha256, settings_sha256

ENDED_BY_CTRL_C = 130  # exit status
POLL_S = 0.1  # between two looks at what runs
SOME_FAILED = 3  # exit status of a job in which clips failed, each with its reason


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command."""

    name: str
    pipeline: str  # a file of pipelines/
    flags: tuple[str, ...]
    leaves: Path  # a file that is there when it is done
    needs: tuple[str, ...] = ()
    settings_sha256: str = ""  # of its preset as it is now
    given: tuple[Path, ...] = ()  # files that no job made and that tell what it works on
    tracking: tuple[str, ...] = ()  # flags that change nothing in what it makes

    def command(self, pipelines: Path) -> list[str]:
        """As it is run."""
        return [sys.executable, str(pipelines / self.pipeline), *self.flags, *self.tracking]

    def line(self) -> str:
        """As a person would type it."""
        return shlex.join(["python", f"pipelines/{self.pipeline}", *self.flags, *self.tracking])


def identity(job: Job, jobs: Mapping[str, Job]) -> str:
    """Hash of its command, what its preset and the given files hold, and all that of the jobs before it."""
    given = [file_sha256(path) if path.is_file() else "" for path in job.given]
    before = [identity(jobs[name], jobs) for name in job.needs]
    return settings_sha256([job.pipeline, job.flags, job.settings_sha256, given, before])


def is_done(job: Job, jobs: Mapping[str, Job], records: Path) -> bool:
    """Whether its file is there, made by this very command after these very jobs.

    Args:
        records: folder of what was done.
    """
    return job.leaves.is_file() and _record(job.name, records).get("identity") == identity(job, jobs)


def was_run(name: str, records: Path) -> bool:
    """Whether a job of that name was done here, however it was set."""
    return bool(_record(name, records))


def _record(name: str, records: Path) -> dict[str, Any]:
    try:
        record = json.loads((records / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


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
    todo: Sequence[Job], jobs: Mapping[str, Job], *, pipelines: Path, records: Path, at_once: int = 1
) -> Iterator[tuple[str, str]]:
    """Run them in order, up to `at_once` together; name and reason of each that failed.

    What needs one that failed is passed by. A SIGTERM or Ctrl-C goes on to the running jobs.

    Args:
        pipelines: folder of the commands.
        records: folder of what was done.

    Raises:
        KeyboardInterrupt: there was a signal, of us or of a job; the running jobs have ended.
    """
    waiting, running, failed = list(todo), list[_Running](), dict[str, str]()
    with _passed_on(running) as asked:
        while running or (waiting and not asked):
            while not asked and len(running) < at_once and (job := _next(waiting, running)):
                waiting.remove(job)
                lost = next((name for name in job.needs if name in failed), "")
                if lost:
                    failed[job.name] = f"needs {lost}"
                    yield job.name, failed[job.name]
                elif not is_done(job, jobs, records):
                    print(f"[{len(todo) - len(waiting)}/{len(todo)}] {job.line()}", flush=True)
                    running.append(_Running.start(job, pipelines=pipelines, records=records))
            for each in [each for each in running if each.has_ended()]:
                running.remove(each)
                if each.status in (ENDED_BY_CTRL_C, -signal.SIGINT):
                    asked.append(signal.SIGINT)
                elif not asked and (reason := each.finish(jobs, records)):
                    failed[each.job.name] = reason
                    yield each.job.name, reason
            time.sleep(POLL_S if running else 0)
        if asked:
            raise KeyboardInterrupt


def _next(waiting: Sequence[Job], running: "Sequence[_Running]") -> Job | None:
    """The first that waits for none of the others."""
    open_ones = {job.name for job in waiting} | {each.job.name for each in running}
    return next((job for job in waiting if not open_ones.intersection(job.needs)), None)


@dataclass(kw_only=True)
class _Running:
    """A job's process."""

    job: Job
    process: subprocess.Popen
    log: Path
    status: int = 0
    processor_s: float = 0.0  # of it and of the children that it waited for

    @classmethod
    def start(cls, job: Job, *, pipelines: Path, records: Path) -> "_Running":
        log = records / f"{job.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                job.command(pipelines), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
            )
        return cls(job=job, process=process, log=log)

    def has_ended(self) -> bool:
        """Whether it has; then `status` and `processor_s` are known, and it is not to be asked again."""
        pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
        if pid:
            self.status = self.process.returncode = os.waitstatus_to_exitcode(status)
            self.processor_s = used.ru_utime + used.ru_stime
        return pid != 0

    def finish(self, jobs: Mapping[str, Job], records: Path) -> str:
        """Keep its record; why it failed, or nothing."""
        job = self.job
        if self.status not in (0, SOME_FAILED) or not job.leaves.is_file():
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1][:300] if lines else f"it left no {job.leaves.name}"
            return f"{job.pipeline} ended with status {self.status} ({last}); log: {self.log}"
        record = {
            "identity": identity(job, jobs),
            "command": job.line(),
            "processor_s": round(self.processor_s, 2),
        }
        with whole_file(records / f"{job.name}.json") as stream:
            stream.write(json.dumps(record, indent=1).encode())
        return ""


def processor_s(job: Job, records: Path) -> float:
    """What the job took when it was run, seconds of processor time; NaN where that is not known."""
    return float(_record(job.name, records).get("processor_s", math.nan))


@contextmanager
def _passed_on(running: Sequence[_Running]) -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C go on to what runs; gives the list of those that came."""
    asked: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for each in running:
            each.process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_pipelines(folder: Path) -> None:
    """Raises UserError where the pipelines are not in `folder`."""
    if not (folder / "generate.py").is_file():
        raise UserError(f"{folder}: no pipelines there; run reproduce_tables.py from the repository")
