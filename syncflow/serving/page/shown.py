"""What the page shows of a job: its progress, its result, and why there is none."""

import html
import io
from typing import Any

import gradio as gr
from PIL import Image
from pydantic import ValidationError

from syncflow.serving.jobs import JobStatus, Result

OUTPUTS = ("status", "preview", "clip", "score", "strip", "again", "mp4", "wav", "sidecar", "last")


def outputs(**values: Any) -> tuple:
    """Values of `OUTPUTS`; what is not named stays as it is."""
    return tuple(values.get(name, gr.skip()) for name in OUTPUTS)


def error_line(error: Exception) -> str:
    """The one line for a request that is refused."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"error: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"error: {error}"


def status(line: str, *, error: bool = False) -> str:
    """HTML of the line above the result; `line` is plain text."""
    return f'<div class="{"error" if error else "line"}" role="status">{html.escape(line)}</div>'


def progress(job: JobStatus) -> str:
    """HTML of how far a job is that waits or runs."""
    if job.state == "queued":
        return status(f"Waiting, {job.position} before it.")
    return f'<progress value="{job.share:.3f}" max="1"></progress>' + status(f"{100 * job.share:.0f} %")


def preview(image: bytes) -> dict[str, Any]:
    """The preview's component with a PNG in it; nothing where there is no new image."""
    return {"preview": gr.Image(value=Image.open(io.BytesIO(image)), visible=True)} if image else {}


def score(result: Result, seed: int | None) -> str:
    """Markdown of a finished clip's sync score and seed."""
    events = f"{result.audio_onsets} audio onsets, {result.motion_peaks} motion peaks"
    f1 = "none (no onset and no motion peak)" if result.sync_f1 is None else f"{result.sync_f1:.2f}"
    offset = "" if result.sync_offset_ms is None else f", audio {result.sync_offset_ms:+.0f} ms"
    note = f" Note: {result.note}." if result.note else ""
    return f"**Sync F1 {f1}** ({events}{offset}). Seed **{seed}**, {result.seconds:.1f} s.{note}"
