"""The board of jobs: what waits, what is being made, what became of it. Safe to use from many threads."""

import itertools
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from syncflow.config import Config
from syncflow.serving.config import LimitsConfig
from syncflow.serving.request import ClipRequest, RequestError, batch_key

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: Collection[State] = ("done", "failed", "cancelled")


class Result(Config):
    """Figures of a finished clip."""

    sync_f1: float | None
    """F1 of audio onsets and motion peaks, one to one within 0.1 s; null without any onset or peak."""
    sync_offset_ms: float | None
    """Mean of audio minus video over the matched pairs, milliseconds; positive when the audio is late."""
    audio_onsets: int
    """Number of audio onsets."""
    motion_peaks: int
    """Number of motion peaks: instants at which a movement ends."""
    seconds: float
    """How long the batch took to generate, seconds."""
    note: str = ""
    """Which part of the given video was not used; empty: all of it was."""


class JobStatus(Config):
    """A job as its client sees it."""

    id: str
    """Name of the job."""
    state: State
    """`done`, `failed` and `cancelled` are final."""
    share: float
    """How much of it is done, 0 to 1."""
    attempts: int = 0
    """How often it was begun; more than once where what made it went away."""
    position: int
    """Jobs before it in the queue."""
    request: ClipRequest
    """The request with every number in it."""
    error: str = ""
    """Why it failed, one line."""
    result: Result | None = None
    """Of a finished clip."""
    files: tuple[str, ...] = ()
    """Names of its files, to be fetched from `/v1/jobs/{id}/files/{name}`."""
    created: float
    """When it was asked for, seconds since 1970."""


@dataclass(eq=False)
class Job:
    """A job on the board; only the board changes it."""

    id: str
    request: ClipRequest
    number: int = 0  # in the order of the requests; the board counts
    created: float = field(default_factory=time.time)
    state: State = "queued"
    share: float = 0.0
    attempts: int = 0
    lives: int = 1  # processes of the service that have had it
    error: str = ""
    result: Result | None = None
    preview: bytes = b""


class JobBoard:
    """Jobs in the order of their requests; each is handed out to one maker at a time, and ends once."""

    def __init__(self, limits: LimitsConfig, *, ended: Callable[[Job], None], dropped: Callable[[Job], None]):
        """`ended` is called with a job that has become final, `dropped` with one that is forgotten."""
        self._limits, self._ended, self._dropped = limits, ended, dropped
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: list[Job] = []
        self._keys: dict[str, str] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    def submit(
        self, request: ClipRequest, *, prepare: Callable[[Job], None] = lambda job: None
    ) -> tuple[Job, bool]:
        """Put a resolved request at the end of the queue; the second value says whether it is a new job.

        Args:
            request: with every number in it.
            prepare: called with the new job before it is handed out; what it raises leaves no job.

        Raises:
            RequestError: the queue is full (429), or the service is about to end (503).
        """
        with self._changed:
            if request.key and (known := self._jobs.get(self._keys.get(request.key, ""))):
                return known, False
            self._refuse_when_full()
        job = Job(id=secrets.token_hex(16), request=request, number=next(self._numbers))
        prepare(job)
        with self._changed:
            if request.key and (known := self._jobs.get(self._keys.get(request.key, ""))):
                self._dropped(job)  # the same request came twice at once
                return known, False
            try:
                self._refuse_when_full()
            except RequestError:
                self._dropped(job)
                raise
            self._jobs[job.id] = job
            if request.key:
                self._keys[request.key] = job.id
            self._queue.append(job)
            self._changed.notify_all()
            return job, True

    def _refuse_when_full(self) -> None:
        if self._closed:
            raise RequestError("the service is about to end; ask again in a minute", status=503)
        if len(self._queue) >= self._limits.queue:
            raise RequestError(f"{len(self._queue)} jobs wait already; ask again later", status=429)

    def restore(self, job: Job) -> None:
        """Show a job of an earlier life of the service; one that had not ended waits again."""
        with self._changed:
            job.number = next(self._numbers)
            self._jobs[job.id] = job
            if job.state not in FINAL:
                job.state = "queued"
                self._queue.append(job)
                self._changed.notify_all()
            if job.request.key:
                self._keys[job.request.key] = job.id
            self._forget_the_oldest()

    def take(self, *, timeout_s: float | None = None) -> list[Job]:
        """The first jobs of the queue that can be made together, now running; waits for one.

        Returns an empty list after `timeout_s` seconds, or when the board is closed and nothing waits.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, timeout_s)
            if not self._queue:
                return []
            key = batch_key(self._queue[0].request)
            batch = [job for job in self._queue if batch_key(job.request) == key][: self._limits.batch]
            taken = {job.id for job in batch}
            self._queue = [job for job in self._queue if job.id not in taken]
            for job in batch:
                job.state, job.share, job.attempts = "running", 0.0, job.attempts + 1
            return batch

    def progress(self, job: Job, share: float, preview: bytes = b"") -> None:
        """How much of a running job is done; an empty preview keeps the last one."""
        with self._changed:
            if job.state == "running":
                job.share = max(job.share, min(share, 1.0))
                job.preview = preview or job.preview
                self._changed.notify_all()

    def finish(self, job: Job, result: Result) -> None:
        """A running job is done."""
        self._end(job, "done", result=result)

    def fail(self, job: Job, error: str) -> None:
        """A running job cannot be made; `error` is one line."""
        self._end(job, "failed", error=error)

    def put_back(self, jobs: Sequence[Job], *, reason: str) -> None:
        """Jobs whose maker went away wait again, at the front; one that was begun too often fails."""
        with self._changed:
            again = [job for job in jobs if job.state == "running"]
            for job in again:
                if job.attempts >= self._limits.attempts:
                    self._end(job, "failed", error=f"{reason} ({job.attempts} attempts); ask again")
                else:
                    job.state, job.share = "queued", 0.0
            waiting = [job for job in again if job.state == "queued"]
            self._queue = sorted([*waiting, *self._queue], key=lambda job: job.number)
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """A queued or running job will not be made; nothing happens to a final one."""
        self._end(job, "cancelled")

    def _end(self, job: Job, state: State, *, error: str = "", result: Result | None = None) -> None:
        with self._changed:
            if job.state in FINAL:
                return
            if job in self._queue:
                self._queue.remove(job)
            job.state, job.error, job.result, job.preview = state, error, result, b""
            job.share = 1.0 if state == "done" else job.share
            self._ended(job)
            self._jobs.move_to_end(job.id)
            self._forget_the_oldest()
            self._changed.notify_all()

    def _forget_the_oldest(self) -> None:
        final = [job for job in self._jobs.values() if job.state in FINAL]
        for job in final[: max(0, len(final) - self._limits.kept)]:
            del self._jobs[job.id]
            self._keys.pop(job.request.key, None)
            self._dropped(job)

    def job(self, job_id: str) -> Job:
        """The job of that id. Raises RequestError (404) for another."""
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise RequestError(f"job {job_id[:40]!r}: not known; it may be too old", status=404)
        return job

    def position(self, job: Job) -> int:
        """Jobs that wait before it."""
        with self._changed:
            return self._queue.index(job) if job in self._queue else 0

    def latest(self, count: int) -> list[Job]:
        """The newest jobs, newest first."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)[:count]

    def counts(self) -> dict[State, int]:
        """How many jobs the board knows, by state."""
        with self._changed:
            states: list[State] = [job.state for job in self._jobs.values()]
        names: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")
        return {state: states.count(state) for state in names}

    def wait(self, job: Job, *, seen: float, timeout_s: float) -> None:
        """Return when the job has ended, has another share than `seen`, or after `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: job.state in FINAL or job.share != seen, timeout_s)

    def close(self) -> None:
        """Accept no more jobs and cancel those that wait; `take` ends when nothing is left."""
        with self._changed:
            self._closed = True
            for job in list(self._queue):
                self.cancel(job)
            self._changed.notify_all()
