"""The HTTP API of a service: uploads, jobs, files, health and metrics; described at /openapi.json."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from syncflow.config import Config
from syncflow.serving.config import DRAINED, JSON_BYTES
from syncflow.serving.job_folders import FILES
from syncflow.serving.jobs import JobStatus
from syncflow.serving.request import About, ClipRequest, RequestError
from syncflow.serving.service import ClipService
from syncflow.serving.videos import MIB, UploadedVideo
from syncflow.version import __version__

TYPES = {".mp4": "video/mp4", ".wav": "audio/wav", ".png": "image/png", ".json": "application/json"}


class Problem(Config):
    """Why a request was refused."""

    error: str
    """One line: what came, what was expected, the remedy."""


class Health(Config):
    """Whether the service makes clips."""

    status: str = Field(pattern="^(ok|ending)$")
    """`ok`, or `ending` with HTTP status 503."""


def make_api(service: ClipService) -> FastAPI:
    """An application over `service`; its caller starts and closes the service."""
    refusals = {
        status: {"model": Problem, "description": text}
        for status, text in (
            (400, "Cannot be made, or costs too much"),
            (404, "Not known"),
            (413, "Too large"),
            (429, "Too many jobs wait"),
            (503, "The service is about to end"),
        )
    }
    app = FastAPI(
        title="SyncFlow",
        version=__version__,
        description="Joint audio-video generation from text, and new audio for a video.",
        docs_url=None,  # their pages load scripts of other hosts
        redoc_url=None,
        responses=refusals,  # type: ignore[arg-type]
    )

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        headers = {"Retry-After": "10"} if error.status in (429, 503) else None
        return JSONResponse({"error": str(error)}, status_code=error.status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return JSONResponse({"error": f"{key}: {first['msg']}"[:500]}, status_code=400)

    @app.middleware("http")
    async def limit_bodies(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Only uploads may be large, and a body says its length unless it is one."""
        if request.url.path.startswith("/v1/") and not request.url.path.startswith("/v1/videos"):
            length = request.headers.get("content-length", "0")
            if "transfer-encoding" in request.headers or not length.isdigit() or int(length) > JSON_BYTES:
                text = f"body: expected a Content-Length of at most {JSON_BYTES} bytes"
                return JSONResponse({"error": text}, status_code=413)
        return await go_on(request)

    @app.get("/v1/about")
    def about() -> About:
        """The model, and the defaults of a request."""
        return service.about

    @app.post(
        "/v1/videos",
        status_code=201,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                },
            }
        },
    )
    async def upload(request: Request) -> UploadedVideo:
        """Upload a video (the body is the file) that jobs may name by its id."""
        refusal: RequestError | None = None
        left = DRAINED * service.config.limits.upload_mib * MIB
        with service.videos.writer() as writer:
            try:
                async for chunk in request.stream():
                    if refusal is None:
                        try:
                            await run_in_threadpool(writer.write, chunk)
                        except RequestError as error:
                            refusal = error  # told when the body has come: who still sends hears nothing
                    elif (left := left - len(chunk)) < 0:
                        break
            except ClientDisconnect:
                raise RequestError("video: the upload broke off; send it again") from None
            if refusal is not None:
                raise refusal
            return await run_in_threadpool(service.videos.finish, writer)

    @app.post("/v1/jobs", status_code=202)
    def submit(request: ClipRequest) -> JobStatus:
        """Ask for a clip. The answer names the job, which waits for its turn."""
        return service.submit(request)

    @app.get("/v1/jobs")
    def latest(count: Annotated[int, Query(ge=1, le=200)] = 24) -> list[JobStatus]:
        """The newest jobs, newest first."""
        return service.latest(count)

    @app.get("/v1/jobs/{job_id}")
    def status(job_id: str) -> JobStatus:
        """How far a job is, and what became of it."""
        return service.status(job_id)

    @app.delete("/v1/jobs/{job_id}")
    def cancel(job_id: str) -> JobStatus:
        """Stop a job within one solver step."""
        return service.cancel(job_id)

    @app.get("/v1/jobs/{job_id}/preview.png", response_class=Response)
    def preview(job_id: str) -> Response:
        """Frames of the clip as they are foreseen; no content (204) where there is nothing to show yet."""
        image = service.preview(job_id)
        return Response(image, media_type="image/png") if image else Response(status_code=204)

    @app.get("/v1/jobs/{job_id}/files/{name}", response_class=FileResponse)
    def file(job_id: str, name: str) -> FileResponse:
        """A file of a finished job: clip.mp4, clip.wav, strip.png, sidecar.json, window.mp4."""
        path = service.file(job_id, name)
        return FileResponse(
            path,
            media_type=TYPES[path.suffix],
            filename=f"syncflow-{job_id[:8]}-{name}",
            stat_result=path.stat(),
        )

    @app.get("/health")
    def health() -> Response:
        """For probes: 200 while clips are made, 503 when the service ends."""
        ok = service.healthy
        body = Health(status="ok" if ok else "ending").model_dump_json()
        return Response(body, status_code=200 if ok else 503, media_type="application/json")

    @app.get("/metrics")
    def metrics() -> Response:
        """Counters in Prometheus' format."""
        return Response(service.metrics.text(service.counts()), media_type=CONTENT_TYPE_LATEST)

    assert set(FILES) == {"clip.mp4", "clip.wav", "strip.png", "sidecar.json", "window.mp4"}
    return app
