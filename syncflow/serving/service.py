"""The service that page and server share: requests in, jobs made by one or more makers, files out."""

import logging
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from syncflow.config import Config, validate
from syncflow.errors import UserError
from syncflow.sampling.trained_on import read_json
from syncflow.serving.config import ServiceConfig
from syncflow.serving.jobs import FINAL, Job, JobBoard, JobStatus, Result, State
from syncflow.serving.maker import CLIP, WINDOW, Cancelled, MakerLostError, Order, Outcome, Progress, Tell
from syncflow.serving.metrics import ServiceMetrics
from syncflow.serving.request import About, ClipRequest, RequestError, clip_spec, resolved
from syncflow.serving.videos import VideoShelf

LOG = logging.getLogger(__name__)
FILES = {
    "clip.mp4": f"{CLIP}.mp4",
    "clip.wav": f"{CLIP}.wav",
    "strip.png": f"{CLIP}.png",
    "sidecar.json": f"{CLIP}.json",
    "window.mp4": WINDOW,
}
_RECORD = "job.json"  # written last: the job ended
_JOB_ID = re.compile(r"[0-9a-f]{32}")


class Maker(Protocol):
    """Makes a batch: `ClipMaker`, or what asks one elsewhere."""

    def __call__(self, orders: Sequence[Order], *, tell: Tell, cancelled: Cancelled) -> list[Outcome]:
        """One outcome per order. Raises MakerLostError when others may try."""
        ...


class JobRecord(Config):
    """A job that ended, as it lies beside its files."""

    id: str
    request: ClipRequest
    state: State
    error: str
    result: Result | None
    created: float


class ClipService:
    """Jobs and their files. Every method may be called from any thread."""

    def __init__(self, config: ServiceConfig, *, about: About, makers: Sequence[Maker]) -> None:
        """One thread per maker hands out batches, once `start` has been called."""
        self.config, self.about = config, about
        self.metrics = ServiceMetrics()
        self._makers = makers
        self._jobs_folder = (config.folder / "jobs").resolve()
        self._jobs_folder.mkdir(parents=True, exist_ok=True)
        self.videos = VideoShelf(config.folder / "videos", config.limits)
        self._board = JobBoard(config.limits, ended=self._ended, dropped=self._dropped)
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._restore()

    def start(self) -> None:
        """Begin to make clips."""
        for number, maker in enumerate(self._makers):
            thread = threading.Thread(
                target=self._work, args=(maker,), name=f"syncflow-maker-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def submit(self, request: ClipRequest) -> JobStatus:
        """Check a request and put it in the queue; an uploaded video is decoded here.

        Raises:
            RequestError: what cannot be made or costs too much (400), an unknown video (404), a full
                queue (429), the end of the service (503).
        """
        whole = resolved(request, self.about, self.config.limits)

        def prepare(job: Job) -> None:
            folder = self._folder(job)
            folder.mkdir()
            if whole.video:
                try:
                    shutil.copyfile(self.window(request), folder / WINDOW)
                except RequestError:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise

        job, _ = self._board.submit(whole, prepare=prepare)
        return self._status(job)

    def window(self, request: ClipRequest) -> Path:
        """What a request uses of its uploaded video, as an mp4 of the clip's size.

        Raises:
            RequestError: as `submit`.
        """
        whole = resolved(request, self.about, self.config.limits)
        spec = clip_spec(whole, self.about)
        return self.videos.window(whole.video, start_s=whole.video_start, spec=spec)

    def status(self, job_id: str) -> JobStatus:
        """Raises RequestError (404) for a job that is not known."""
        return self._status(self._board.job(job_id))

    def wait(self, job_id: str, *, seen: float = -1.0, timeout_s: float = 10.0) -> JobStatus:
        """The status when the job has ended, or its share is another than `seen`, or the time is up."""
        job = self._board.job(job_id)
        self._board.wait(job, seen=seen, timeout_s=timeout_s)
        return self._status(job)

    def preview(self, job_id: str) -> bytes:
        """The last preview of a running job, PNG; empty where there is none."""
        return self._board.job(job_id).preview

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job within one solver step; a final one stays as it is."""
        job = self._board.job(job_id)
        self._board.cancel(job)
        return self._status(job)

    def latest(self, count: int = 24) -> list[JobStatus]:
        """The newest jobs, newest first."""
        return [self._status(job) for job in self._board.latest(count)]

    def file(self, job_id: str, name: str) -> Path:
        """Raises RequestError (404) unless the job is done and has a file of that name (see `FILES`)."""
        job = self._board.job(job_id)
        path = self._folder(job) / FILES[name] if name in FILES else None
        if job.state != "done" or path is None or not path.is_file():
            raise RequestError(f"file {name[:40]!r}: job {job_id} has none of that name", status=404)
        return path

    @property
    def healthy(self) -> bool:
        """Whether requests are accepted and made."""
        return (
            bool(self._threads)
            and all(thread.is_alive() for thread in self._threads)
            and not self._stopped.is_set()
        )

    def counts(self) -> dict[State, int]:
        """How many jobs are known, by state."""
        return self._board.counts()

    def close(self) -> None:
        """Take no more requests, cancel what waits, and give what runs `close_s` seconds to finish."""
        self._stopped.set()
        self._board.close()
        for thread in self._threads:
            thread.join(self.config.close_s)
        for status in self.latest(self.config.limits.kept):
            if status.state == "running":
                self.cancel(status.id)

    # what the makers' threads do

    def _work(self, maker: Maker) -> None:
        while batch := self._next_batch():
            self.metrics.batch(len(batch))
            try:
                self._make(maker, batch)
            except MakerLostError as error:
                LOG.warning("a batch of %d clips is given out again: %s", len(batch), error)
                self._board.put_back(batch, reason=str(error))
                self._stopped.wait(1.0)
            except Exception:
                LOG.exception("maker")
                for job in batch:
                    self._board.fail(job, "could not be made; the server's log names the fault")

    def _next_batch(self) -> list[Job]:
        while not self._stopped.is_set():
            if batch := self._board.take(timeout_s=5.0):
                return batch
        return self._board.take(timeout_s=0.0)

    def _make(self, maker: Maker, batch: list[Job]) -> None:
        jobs = {job.id: job for job in batch}
        orders = [Order(id=job.id, request=job.request, folder=self._folder(job)) for job in batch]

        def tell(progress: Progress) -> None:
            self._board.progress(jobs[progress.id], progress.share, progress.preview)

        outcomes = maker(orders, tell=tell, cancelled=lambda name: jobs[name].state in FINAL)
        for outcome in outcomes:
            if outcome.result is not None:
                self.metrics.made(outcome.result.seconds)
                self._board.finish(jobs[outcome.id], outcome.result)
            elif outcome.error:
                self._board.fail(jobs[outcome.id], outcome.error)

    # files and records

    def _folder(self, job: Job) -> Path:
        return self._jobs_folder / job.id

    def _ended(self, job: Job) -> None:
        self.metrics.ended(job.state)
        folder = self._folder(job)
        record = JobRecord(
            id=job.id,
            request=job.request,
            state=job.state,
            error=job.error,
            result=job.result,
            created=job.created,
        )
        try:
            folder.mkdir(exist_ok=True)
            partial = folder / f".{_RECORD}.partial"
            partial.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            partial.replace(folder / _RECORD)
        except OSError as error:  # a full disk costs the record, not the service
            LOG.error("job %s: its record cannot be written (%s)", job.id, error)

    def _dropped(self, job: Job) -> None:
        shutil.rmtree(self._folder(job), ignore_errors=True)

    def _restore(self) -> None:
        """Show the jobs of earlier lives; what they left unfinished is removed."""
        records = []
        for folder in self._jobs_folder.iterdir():
            if not _JOB_ID.fullmatch(folder.name):
                continue
            try:
                records.append(validate(JobRecord, read_json(folder / _RECORD), source=str(folder / _RECORD)))
            except UserError:
                shutil.rmtree(folder, ignore_errors=True)
        for number, record in enumerate(sorted(records, key=lambda record: record.created)):
            self._board.restore(
                Job(
                    id=record.id,
                    request=record.request,
                    number=number,
                    created=record.created,
                    state=record.state,
                    share=1.0 if record.state == "done" else 0.0,
                    error=record.error,
                    result=record.result,
                )
            )

    def _status(self, job: Job) -> JobStatus:
        files: tuple[str, ...] = ()
        if job.state == "done":
            folder = self._folder(job)
            files = tuple(name for name, file in FILES.items() if (folder / file).is_file())
        return JobStatus(
            id=job.id,
            state=job.state,
            share=job.share,
            position=self._board.position(job),
            request=job.request,
            error=job.error,
            result=job.result,
            files=files,
            created=job.created,
        )
