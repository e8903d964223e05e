"""The components of the page, and which of them calls what."""

import os
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from fastapi import FastAPI

from syncflow.serving.page.actions import PageActions
from syncflow.serving.page.shown import OUTPUTS, status
from syncflow.serving.service import ClipService

EXAMPLES = (
    "a drumstick hits a metal object three times",
    "a drumstick scratches a wooden surface twice",
    "a drumstick hits a glass object once",
    "a drumstick pokes a cardboard box four times",
)
HOUR_S = 3600
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
    """The components over one service."""

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
            make_audio = gr.Button("Make audio", variant="primary", elem_id="make_audio")
            video = {
                "prompt": v2a_prompt,
                "button": make_audio,
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
            shown["again"] = gr.Button(
                "Again with another seed", interactive=False, min_width=160, elem_id="again"
            )
            for name, label in (("mp4", "mp4"), ("wav", "wav"), ("sidecar", "Sidecar")):
                shown[name] = gr.DownloadButton(
                    label, interactive=False, min_width=80, elem_id=f"download_{name}"
                )
        shown["gallery"] = gr.Gallery(
            label="Made before",
            columns=3,
            height="auto",
            object_fit="contain",
            interactive=False,
            buttons=[],
            elem_id="gallery",
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
        actions = PageActions(self._service)
        outputs = [shown[name] for name in OUTPUTS]
        gallery = {"fn": actions.gallery, "outputs": shown["gallery"], "show_progress": "hidden"}
        runs = [
            text["button"].click(
                actions.text_to_clip, [text["prompt"], *settings], outputs, api_name="text_to_clip"
            ),
            text["prompt"].submit(actions.text_to_clip, [text["prompt"], *settings], outputs, api_name=False),
            video["button"].click(
                actions.video_to_audio,
                [video["id"], video["start"], video["prompt"], *settings],
                outputs,
                api_name=False,
            ),
            shown["again"].click(actions.again, [shown["last"]], outputs, api_name=False),
        ]
        for run in runs:
            run.then(**gallery, api_name=False)
        stop.click(lambda: status("Stopped."), None, shown["status"], cancels=runs, api_name=False)
        looked_at = [shown["status"], video["id"], video["start"], video["window"]]
        geometry = [settings[2], settings[6], settings[7]]
        video["upload"].upload(actions.receive, [video["upload"], *geometry], looked_at, api_name=False)
        video["upload"].clear(lambda: ("", "", gr.Slider(value=0), None), None, looked_at, api_name=False)
        for changed in (video["start"].release, settings[2].release):
            changed(
                actions.window,
                [video["id"], video["start"], *geometry],
                [shown["status"], video["window"]],
                api_name=False,
            )
        self.blocks.load(**gallery, api_name=False)  # type: ignore[arg-type]
        shown["gallery"].select(actions.choose, None, outputs, api_name=False)
