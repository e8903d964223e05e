"""A folder per job: the clip's files and the job's record, which outlive the process of the service."""

import logging
import re
import shutil
from pathlib import Path

from syncflow.config import Config, validate
from syncflow.errors import UserError
from syncflow.files import read_json, write_whole
from syncflow.serving.jobs import Job, Result, State
from syncflow.serving.orders import CLIP, WINDOW
from syncflow.serving.request import ClipRequest

LOG = logging.getLogger(__name__)
FILES = {
    "clip.mp4": f"{CLIP}.mp4",
    "clip.wav": f"{CLIP}.wav",
    "strip.png": f"{CLIP}.png",
    "sidecar.json": f"{CLIP}.json",
    "window.mp4": WINDOW,
}
_RECORD = "job.json"
_REMOVED = "the job is removed"
_JOB_ID = re.compile(r"[0-9a-f]{32}")


class JobRecord(Config):
    """A job as it lies beside its files."""

    id: str
    request: ClipRequest
    state: State
    """`queued` until the job has ended."""
    error: str
    result: Result | None
    created: float
    attempts: int = 0
    """How often it was begun in the process that ended it."""
    lives: int = 1
    """Processes of the service that have had the job before it ended."""


class JobFolders:
    """The folders of all jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)

    def of(self, job: Job) -> Path:
        """The job's folder."""
        return self._folder / job.id

    def write(self, job: Job) -> None:
        """Write the job's record, whole or not at all."""
        self.of(job).mkdir(exist_ok=True)
        record = JobRecord(
            id=job.id,
            request=job.request,
            state=job.state,
            error=job.error,
            result=job.result,
            created=job.created,
            attempts=job.attempts,
            lives=job.lives,
        )
        write_whole(self.of(job) / _RECORD, record.model_dump_json(indent=2) + "\n")

    def drop(self, job: Job) -> None:
        """Remove the job's files and record."""
        shutil.rmtree(self.of(job), ignore_errors=True)

    def file(self, job: Job, name: str) -> Path | None:
        """A file of a finished job by its name in `FILES`; None where there is none."""
        path = self.of(job) / FILES[name] if name in FILES and job.state == "done" else None
        return path if path is not None and path.is_file() else None

    def names(self, job: Job) -> tuple[str, ...]:
        """Names of the files that a finished job has."""
        return tuple(name for name in FILES if self.file(job, name) is not None)

    def restored(self) -> list[Job]:
        """The jobs of earlier lives in the order of their requests; what has no whole record is removed."""
        records = []
        for folder in self._folder.iterdir():
            if not _JOB_ID.fullmatch(folder.name):
                continue
            try:
                values = read_json(folder / _RECORD, absent=_REMOVED, damaged=_REMOVED)
                records.append(validate(JobRecord, values, source=str(folder / _RECORD)))
            except UserError as error:
                LOG.warning("%s", error)
                shutil.rmtree(folder, ignore_errors=True)
        return [
            Job(
                id=record.id,
                request=record.request,
                created=record.created,
                state=record.state,
                share=1.0 if record.state == "done" else 0.0,
                error=record.error,
                result=record.result,
                attempts=record.attempts,
                lives=record.lives,
            )
            for record in sorted(records, key=lambda record: record.created)
        ]
