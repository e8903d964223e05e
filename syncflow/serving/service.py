"""The service that page and server share: requests in, jobs made by one or more makers, files out."""

import logging
import shutil
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from syncflow.data.parquet.lock import writer_lock
from syncflow.files import require_writable
from syncflow.serving.config import ServiceConfig
from syncflow.serving.job_folders import JobFolders
from syncflow.serving.jobs import FINAL, Job, JobBoard, JobStatus, State
from syncflow.serving.metrics import ServiceMetrics
from syncflow.serving.orders import WINDOW, Maker, MakerLostError, Order, Progress
from syncflow.serving.request import About, ClipRequest, RequestError, clip_spec, resolved
from syncflow.serving.videos import VideoShelf

LOG = logging.getLogger(__name__)


class ClipService:
    """Jobs and their files. Every method may be called from any thread."""

    def __init__(self, config: ServiceConfig, *, about: About, makers: Sequence[Maker]) -> None:
        """Takes `config.folder` for this process, with the jobs that earlier ones left there.

        One thread per maker hands out batches, once `start` has been called.

        Raises:
            UserError: another service has the folder, or it cannot be written.
        """
        self.config, self.about = config, about
        self.metrics = ServiceMetrics()
        self._makers = makers
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        require_writable(config.folder)
        with ExitStack() as held:
            held.enter_context(writer_lock(config.folder))
            self.videos = VideoShelf(config.folder / "videos", config.limits)
            self._folders = JobFolders(config.folder / "jobs")
            self._board = JobBoard(config.limits, ended=self._ended, dropped=self._folders.drop)
            for job in self._folders.restored():
                self._restore(job)
            self._held = held.pop_all()

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
            self._folders.of(job).mkdir()
            try:
                if whole.video:
                    shutil.copyfile(self.window(request), self._folders.of(job) / WINDOW)
                self._folders.write(job)
            except OSError as error:
                self._folders.drop(job)
                raise RequestError(
                    f"the server cannot write ({error.strerror}); ask again later", status=503
                ) from None
            except RequestError:
                self._folders.drop(job)
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
        """The status when the job has ended, or its share is another than `seen`, or the time is up.

        Args:
            job_id: of the job that is waited for.
        """
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
        path = self._folders.file(self._board.job(job_id), name)
        if path is None:
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
        self._held.close()

    # what the makers' threads do

    def _work(self, maker: Maker) -> None:
        while batch := self._next_batch():
            self.metrics.batch(len(batch))
            try:
                self._make(maker, batch)
            except MakerLostError as error:
                LOG.error("a batch of %d clips is given out again: %s", len(batch), error)
                self.metrics.lost(len(batch))
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
        orders = [Order(id=job.id, request=job.request, folder=self._folders.of(job)) for job in batch]

        def tell(progress: Progress) -> None:
            self._board.progress(jobs[progress.id], progress.share, progress.preview)

        outcomes = maker(orders, tell=tell, cancelled=lambda name: jobs[name].state in FINAL)
        for outcome in outcomes:
            if outcome.result is not None:
                self.metrics.made(outcome.result.seconds)
                self._board.finish(jobs[outcome.id], outcome.result)
            elif outcome.error:
                self._board.fail(jobs[outcome.id], outcome.error)

    # records

    def _ended(self, job: Job) -> None:
        self.metrics.ended(job.state)
        try:
            self._folders.write(job)
        except OSError as error:  # a full disk costs the record, not the service
            LOG.error("job %s: its record cannot be written (%s)", job.id, error)

    def _restore(self, job: Job) -> None:
        """Show a job of an earlier life; one that had not ended waits again, `limits.attempts` times."""
        self._board.restore(job)
        if job.state not in FINAL:
            job.lives += 1
            if job.lives > self.config.limits.attempts:
                self._board.fail(
                    job, f"the service ended {job.lives - 1} times before it was made; ask again"
                )
            else:
                self._folders.write(job)

    def _status(self, job: Job) -> JobStatus:
        return JobStatus(
            id=job.id,
            state=job.state,
            share=job.share,
            attempts=job.attempts,
            position=self._board.position(job),
            request=job.request,
            error=job.error,
            result=job.result,
            files=self._folders.names(job),
            created=job.created,
        )
