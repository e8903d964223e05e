"""The web page over a service: text to clip, video to audio, and what was made before."""

import html
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from fastapi import FastAPI
from PIL import Image
from pydantic import ValidationError

from syncflow.errors import UserError
from syncflow.serving.jobs import FINAL, JobStatus, Result
from syncflow.serving.request import ClipRequest
from syncflow.serving.service import ClipService

EXAMPLES = (
    "a drumstick hits a metal object three times",
    "a drumstick scratches a wooden surface twice",
    "a drumstick hits a glass object once",
    "a drumstick pokes a cardboard box four times",
)
CHUNK = 1 << 20
HOUR_S = 3600
SHOWN = 12  # clips of the gallery
CSS = """
#status progress {width: 100%; height: 0.8rem}
#status .error {color: var(--error-text-color, #b91c1c); font-weight: 600}
#preview img {image-rendering: auto}
"""


def add_page(app: FastAPI, service: ClipService) -> FastAPI:
    """`app` with the page at `/`; files are handed out of the service's job folder alone."""
    os.environ.setdefault("GRADIO_TEMP_DIR", str((service.config.folder / "page").resolve()))
    limits = service.config.limits
    page = Page(service).blocks
    page.queue(max_size=limits.queue, default_concurrency_limit=min(limits.queue, 16))
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        allowed_paths=[str((service.config.folder / name).resolve()) for name in ("jobs", "videos")],
        max_file_size=f"{limits.upload_mib}mb",
        show_error=True,
        css=CSS,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        footer_links=["gradio"],
        enable_monitoring=False,
        ssr_mode=False,
    )


class Page:
    """The components, and what they do. A request runs while its browser listens, and is cancelled after."""

    def __init__(self, service: ClipService) -> None:
        self._service = service
        about, limits = service.about, service.config.limits
        with gr.Blocks(
            title="SyncFlow", analytics_enabled=False, delete_cache=(HOUR_S, HOUR_S)
        ) as self.blocks:
            gr.Markdown(
                f"# SyncFlow\nText to a clip with audio, and audio for a video. Model **{about.model}** on "
                f"{about.device}, {about.clip.width} x {about.clip.height} at {about.clip.fps} fps."
            )
            with gr.Row():
                with gr.Column(scale=5):
                    text, video = self._requests()
                    settings = self._settings(limits.steps, limits.seconds)
                    stop = gr.Button("Stop", variant="stop", elem_id="stop")
                with gr.Column(scale=6):
                    shown = self._results()
            self._connect(text, video, settings, shown, stop)

    def _requests(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The two tabs; each has what a request is made of, and its button."""
        limits = self._service.config.limits
        with gr.Tab("Text to clip"):
            prompt = gr.Textbox(
                label="Prompt", lines=2, max_length=2000, placeholder=EXAMPLES[0], elem_id="prompt"
            )
            gr.Examples([[example] for example in EXAMPLES], prompt, label="Examples")
            make = gr.Button("Make a clip", variant="primary", elem_id="make")
            text = {"prompt": prompt, "button": make}
        with gr.Tab("Video to audio"):
            upload = gr.File(
                label=f"Video, at most {limits.upload_mib} MiB (drop it here)",
                type="filepath",
                elem_id="upload",
            )
            start = gr.Slider(
                0, 1, 0, step=1 / self._service.about.clip.fps, label="The clip begins at, seconds"
            )
            window = gr.Video(
                label="The part that gets new audio",
                interactive=False,
                height=240,
                buttons=[],
                elem_id="window",
            )
            v2a_prompt = gr.Textbox(label="Prompt (may be empty)", lines=1, max_length=2000)
            sound = gr.Button("Make audio", variant="primary", elem_id="make_audio")
            video = {
                "prompt": v2a_prompt,
                "button": sound,
                "upload": upload,
                "start": start,
                "window": window,
                "id": gr.State(""),
            }
        return text, video

    def _settings(self, most_steps: int, most_seconds: float) -> list[Any]:
        """In the order of `ClipRequest`'s fields that `_request` reads."""
        about = self._service.about
        with gr.Row():
            seed = gr.Textbox(label="Seed", placeholder="another each time", max_length=10, elem_id="seed")
            steps = gr.Slider(1, most_steps, min(about.steps, most_steps), step=1, label="Steps")
            seconds = gr.Slider(
                0.5,
                most_seconds,
                min(about.clip.seconds, most_seconds),
                step=1 / about.clip.fps,
                label="Seconds",
            )
        with gr.Accordion("More settings", open=False):
            scale = gr.Slider(0, 15, about.guidance_scale, step=0.1, label="Guidance of the video")
            audio_scale = gr.Slider(
                0,
                15,
                about.guidance_scale if about.audio_guidance_scale is None else about.audio_guidance_scale,
                step=0.1,
                label="Guidance of the audio",
            )
            negative = gr.Textbox(label="Negative prompt", max_length=2000)
            height = gr.Number(
                label="Height, pixels", value=about.clip.height, precision=0, step=about.row_stride
            )
            width = gr.Number(
                label="Width, pixels", value=about.clip.width, precision=0, step=about.column_stride
            )
        return [seed, steps, seconds, scale, audio_scale, negative, height, width]

    def _results(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "status": gr.HTML("", elem_id="status"),
            "preview": gr.Image(
                label="On the way", visible=False, elem_id="preview", interactive=False, buttons=[]
            ),
            "clip": gr.Video(
                label="Clip",
                interactive=False,
                autoplay=True,
                loop=True,
                height=320,
                buttons=[],
                elem_id="clip",
            ),
            "score": gr.Markdown("", elem_id="score"),
            "strip": gr.Image(
                label="Frames over the waveform", interactive=False, buttons=["fullscreen"], elem_id="strip"
            ),
        }
        with gr.Row():
            shown["again"] = gr.Button("Again with another seed", interactive=False, elem_id="again")
            for name, label in (("mp4", "mp4"), ("wav", "wav"), ("sidecar", "Sidecar (json)")):
                shown[name] = gr.DownloadButton(label, interactive=False, elem_id=f"download_{name}")
        shown["gallery"] = gr.Gallery(
            label="Made before", columns=4, height="auto", interactive=False, buttons=[], elem_id="gallery"
        )
        shown["last"] = gr.State(None)
        return shown

    def _connect(
        self,
        text: dict[str, Any],
        video: dict[str, Any],
        settings: list[Any],
        shown: dict[str, Any],
        stop: Any,
    ) -> None:
        outputs = [shown[name] for name in OUTPUTS]
        gallery = {"fn": self._gallery, "outputs": shown["gallery"], "show_progress": "hidden"}
        runs = [
            text["button"].click(
                self._text_to_clip, [text["prompt"], *settings], outputs, api_name="text_to_clip"
            ),
            text["prompt"].submit(self._text_to_clip, [text["prompt"], *settings], outputs, api_name=False),
            video["button"].click(
                self._video_to_audio,
                [video["id"], video["start"], video["prompt"], *settings],
                outputs,
                api_name=False,
            ),
            shown["again"].click(self._again, [shown["last"]], outputs, api_name=False),
        ]
        for run in runs:
            run.then(**gallery, api_name=False)
        stop.click(lambda: _status("Stopped."), None, shown["status"], cancels=runs, api_name=False)
        looked_at = [shown["status"], video["id"], video["start"], video["window"]]
        geometry = [settings[2], settings[6], settings[7]]
        video["upload"].upload(self._receive, [video["upload"], *geometry], looked_at, api_name=False)
        video["upload"].clear(lambda: ("", "", gr.Slider(value=0), None), None, looked_at, api_name=False)
        for changed in (video["start"].release, settings[2].release):
            changed(
                self._window,
                [video["id"], video["start"], *geometry],
                [shown["status"], video["window"]],
                api_name=False,
            )
        self.blocks.load(**gallery, api_name=False)  # type: ignore[arg-type]
        shown["gallery"].select(self._choose, None, outputs, api_name=False)

    # what the components call

    def _text_to_clip(self, prompt: str, *settings: Any) -> Iterator[tuple]:
        yield from self._run(lambda: _request(settings, prompt=prompt))

    def _video_to_audio(self, video: str, start: float, prompt: str, *settings: Any) -> Iterator[tuple]:
        if not video:
            yield _outputs(status=_status("error: video: none; drop a file first", error=True))
            return
        yield from self._run(lambda: _request(settings, prompt=prompt, video=video, video_start=start))

    def _again(self, last: dict[str, Any] | None) -> Iterator[tuple]:
        if last is not None:
            yield from self._run(lambda: ClipRequest(**{**last, "seed": None}))

    def _run(self, request: Callable[[], ClipRequest]) -> Iterator[tuple]:
        """Submit a request, then what is to be shown until it has ended; closing the iterator cancels it."""
        try:
            job = self._service.submit(request())
        except (ValidationError, UserError) as error:
            yield _outputs(status=_status(_error_line(error), error=True), preview=gr.Image(visible=False))
            return
        try:
            shown = b""
            while job.state not in FINAL:
                image = self._service.preview(job.id)
                yield _outputs(status=_progress(job), **_preview(image if image != shown else b""))
                shown = image
                job = self._service.wait(job.id, seen=job.share, timeout_s=1.0)
            yield self._finished(job)
        finally:
            self._service.cancel(job.id)  # the browser went away; nothing happens to a final job

    def _finished(self, job: JobStatus) -> tuple:
        hidden = gr.Image(visible=False, value=None)
        if job.state != "done" or job.result is None:
            line = f"error: {job.error}" if job.error else "Stopped."
            return _outputs(status=_status(line, error=bool(job.error)), preview=hidden)
        files = {name: str(self._service.file(job.id, name)) for name in job.files}
        return _outputs(
            status=_status("Done."),
            preview=hidden,
            clip=files["clip.mp4"],
            score=_score(job.result, job.request.seed),
            strip=files["strip.png"],
            again=gr.Button(interactive=True),
            mp4=gr.DownloadButton(value=files["clip.mp4"], interactive=True),
            wav=gr.DownloadButton(value=files["clip.wav"], interactive=True),
            sidecar=gr.DownloadButton(value=files["sidecar.json"], interactive=True),
            last={**job.request.model_dump(), "key": ""},
        )

    def _receive(self, path: str, seconds: float, height: float, width: float) -> tuple:
        """An upload: looked at, kept by the service, and its first window shown."""
        try:
            video = self._service.videos.add(_chunks(Path(path)))
            window = self._cut(video.id, 0.0, seconds, height, width)
        except (ValidationError, UserError) as error:
            return _status(_error_line(error), error=True), "", gr.Slider(value=0), None
        finally:
            Path(path).unlink(missing_ok=True)
        last = max(video.seconds - seconds, 1 / self._service.about.clip.fps)
        return _status(""), video.id, gr.Slider(maximum=last, value=0), window

    def _window(self, video: str, start: float, seconds: float, height: float, width: float) -> tuple:
        if not video:
            return gr.skip(), None
        try:
            return _status(""), self._cut(video, start, seconds, height, width)
        except (ValidationError, UserError) as error:
            return _status(_error_line(error), error=True), None

    def _cut(self, video: str, start: float, seconds: float, height: float, width: float) -> str:
        request = ClipRequest(
            video=video, video_start=start, seconds=seconds, height=round(height), width=round(width)
        )
        return str(self._service.window(request))

    def _done(self) -> list[JobStatus]:
        jobs = [job for job in self._service.latest(4 * SHOWN) if "clip.mp4" in job.files]
        return jobs[:SHOWN]

    def _gallery(self) -> list[tuple[str, str]]:
        return [
            (str(self._service.file(job.id, "strip.png")), job.request.prompt or "audio for a video")
            for job in self._done()
        ]

    def _choose(self, chosen: gr.SelectData) -> tuple:
        """Show a clip of the gallery as if it had just been made."""
        path = chosen.value["image"]["path"] if isinstance(chosen.value, dict) else ""
        jobs = self._done()
        named = [job for job in jobs if job.id in path]
        index = chosen.index if isinstance(chosen.index, int) else 0
        if not named and index >= len(jobs):
            return _outputs()
        return self._finished(named[0] if named else jobs[index])


OUTPUTS = ("status", "preview", "clip", "score", "strip", "again", "mp4", "wav", "sidecar", "last")


def _outputs(**values: Any) -> tuple:
    """Values of `OUTPUTS`; what is not named stays as it is."""
    return tuple(values.get(name, gr.skip()) for name in OUTPUTS)


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


def _error_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"error: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"error: {error}"


def _status(line: str, *, error: bool = False) -> str:
    return f'<div class="{"error" if error else "line"}" role="status">{html.escape(line)}</div>'


def _progress(job: JobStatus) -> str:
    if job.state == "queued":
        return _status(f"Waiting, {job.position} before it.")
    return f'<progress value="{job.share:.3f}" max="1"></progress>' + _status(f"{100 * job.share:.0f} %")


def _preview(image: bytes) -> dict[str, Any]:
    return {"preview": gr.Image(value=Image.open(io.BytesIO(image)), visible=True)} if image else {}


def _score(result: Result, seed: int | None) -> str:
    events = f"{result.audio_onsets} onsets of sound, {result.motion_peaks} peaks of motion"
    f1 = "none (nothing moves or sounds)" if result.sync_f1 is None else f"{result.sync_f1:.2f}"
    offset = "" if result.sync_offset_ms is None else f", audio {result.sync_offset_ms:+.0f} ms"
    note = f" Note: {result.note}." if result.note else ""
    return f"**Sync F1 {f1}** ({events}{offset}). Seed **{seed}**, {result.seconds:.1f} s.{note}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
