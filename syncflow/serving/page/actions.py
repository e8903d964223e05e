"""What the components of the page call: requests to the service, and what is to be shown of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from syncflow.errors import UserError
from syncflow.serving.jobs import FINAL, JobStatus
from syncflow.serving.page.shown import error_line, outputs, preview, progress, score, status
from syncflow.serving.request import ClipRequest
from syncflow.serving.service import ClipService

CHUNK = 1 << 20
SHOWN = 12  # clips of the gallery


class PageActions:
    """Over one service. A request runs while its browser listens, and is cancelled after."""

    def __init__(self, service: ClipService) -> None:
        self._service = service

    def text_to_clip(self, prompt: str, *settings: Any) -> Iterator[tuple]:
        """Values of `OUTPUTS` until the clip is made; `settings` as `_request` reads them."""
        yield from self._run(lambda: _request(settings, prompt=prompt))

    def video_to_audio(self, video: str, start: float, prompt: str, *settings: Any) -> Iterator[tuple]:
        """As `text_to_clip`, for the upload of id `video` from `start` seconds on."""
        if not video:
            yield outputs(status=status("error: video: none; drop a file first", error=True))
            return
        yield from self._run(lambda: _request(settings, prompt=prompt, video=video, video_start=start))

    def again(self, last: dict[str, Any] | None) -> Iterator[tuple]:
        """As `text_to_clip`, for the request of the clip that is shown and a new seed."""
        if last is not None:
            yield from self._run(lambda: ClipRequest(**{**last, "seed": None}))

    def _run(self, request: Callable[[], ClipRequest]) -> Iterator[tuple]:
        """Submit a request, then what is to be shown until it has ended; closing the iterator cancels it."""
        try:
            job = self._service.submit(request())
        except (ValidationError, UserError) as error:
            yield outputs(status=status(error_line(error), error=True), preview=gr.Image(visible=False))
            return
        try:
            shown = b""
            while job.state not in FINAL:
                image = self._service.preview(job.id)
                yield outputs(status=progress(job), **preview(image if image != shown else b""))
                shown = image
                job = self._service.wait(job.id, seen=job.share, timeout_s=1.0)
            yield self._finished(job)
        finally:
            self._service.cancel(job.id)  # the browser went away; nothing happens to a final job

    def _finished(self, job: JobStatus) -> tuple:
        hidden = gr.Image(visible=False, value=None)
        if job.state != "done" or job.result is None:
            line = f"error: {job.error}" if job.error else "Stopped."
            return outputs(status=status(line, error=bool(job.error)), preview=hidden)
        files = {name: str(self._service.file(job.id, name)) for name in job.files}
        return outputs(
            status=status("Done."),
            preview=hidden,
            clip=files["clip.mp4"],
            score=score(job.result, job.request.seed),
            strip=files["strip.png"],
            again=gr.Button(interactive=True),
            mp4=gr.DownloadButton(value=files["clip.mp4"], interactive=True),
            wav=gr.DownloadButton(value=files["clip.wav"], interactive=True),
            sidecar=gr.DownloadButton(value=files["sidecar.json"], interactive=True),
            last={**job.request.model_dump(), "key": ""},
        )

    def receive(self, path: str, seconds: float, height: float, width: float) -> tuple:
        """An upload: looked at, kept by the service, and its first window shown."""
        try:
            video = self._service.videos.add(_chunks(Path(path)))
            window = self._cut(video.id, 0.0, seconds, height, width)
        except (ValidationError, UserError) as error:
            return status(error_line(error), error=True), "", gr.Slider(value=0), None
        finally:
            Path(path).unlink(missing_ok=True)
        last = max(video.seconds - seconds, 1 / self._service.about.clip.fps)
        return status(""), video.id, gr.Slider(maximum=last, value=0), window

    def window(self, video: str, start: float, seconds: float, height: float, width: float) -> tuple:
        """The status line, and the part of the upload that gets new audio."""
        if not video:
            return gr.skip(), None
        try:
            return status(""), self._cut(video, start, seconds, height, width)
        except (ValidationError, UserError) as error:
            return status(error_line(error), error=True), None

    def _cut(self, video: str, start: float, seconds: float, height: float, width: float) -> str:
        request = ClipRequest(
            video=video, video_start=start, seconds=seconds, height=round(height), width=round(width)
        )
        return str(self._service.window(request))

    def _done(self) -> list[JobStatus]:
        jobs = [job for job in self._service.latest(4 * SHOWN) if "clip.mp4" in job.files]
        return jobs[:SHOWN]

    def gallery(self) -> list[tuple[str, str]]:
        """Strips and prompts of the newest clips."""
        return [
            (str(self._service.file(job.id, "strip.png")), job.request.prompt or "audio for a video")
            for job in self._done()
        ]

    def choose(self, chosen: gr.SelectData) -> tuple:
        """Show a clip of the gallery as if it had just been made."""
        path = chosen.value["image"]["path"] if isinstance(chosen.value, dict) else ""
        jobs = self._done()
        named = [job for job in jobs if job.id in path]
        index = chosen.index if isinstance(chosen.index, int) else 0
        if not named and index >= len(jobs):
            return outputs()
        return self._finished(named[0] if named else jobs[index])


def _request(settings: tuple, **request: Any) -> ClipRequest:
    """A request of what the page's settings say; raises ValidationError for what cannot be."""
    seed, steps, seconds, scale, audio_scale, negative, height, width = settings
    return ClipRequest(
        seed=seed.strip() or None,
        steps=round(steps),
        seconds=seconds,
        guidance_scale=scale,
        audio_guidance_scale=audio_scale,
        negative_prompt=negative or "",
        height=round(height or 0),
        width=round(width or 0),
        preview=True,
        **request,
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
