"""A service over makers that write small files, and one over the shipped model."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from syncflow.config import validate
from syncflow.media import write_clip
from syncflow.records import ClipSpec
from syncflow.serving.config import ServiceConfig
from syncflow.serving.jobs import FINAL, JobStatus, Result
from syncflow.serving.orders import CLIP, Cancelled, Maker, Order, Outcome, Progress, Tell
from syncflow.serving.request import About
from syncflow.serving.service import ClipService

SPEC = ClipSpec(seconds=1.0, height=64, width=64)
ABOUT = About(
    model="m",
    device="cpu",
    weights={},
    row_stride=16,
    column_stride=16,
    clip=SPEC,
    steps=4,
    guidance_scale=2.0,
    audio_guidance_scale=None,
)
RESULT = Result(sync_f1=1.0, sync_offset_ms=0.0, audio_onsets=1, motion_peaks=1, seconds=0.0)


class WritingMaker:
    """Notes its batches and writes a file per order; `each` is called before a batch is made."""

    def __init__(self, each: Callable[[Sequence[Order]], None] = lambda orders: None) -> None:
        self.batches: list[list[str]] = []
        self._each, self._lock = each, threading.Lock()

    def __call__(self, orders: Sequence[Order], *, tell: Tell, cancelled: Cancelled) -> list[Outcome]:
        self._each(orders)
        with self._lock:
            self.batches.append([order.id for order in orders])
        outcomes = []
        for order in orders:
            tell(Progress(id=order.id, share=0.5))
            if cancelled(order.id):
                outcomes.append(Outcome(id=order.id))
                continue
            (order.folder / f"{CLIP}.mp4").write_bytes(order.id.encode())
            outcomes.append(Outcome(id=order.id, result=RESULT))
        return outcomes


def config(folder: Path, **limits: object) -> ServiceConfig:
    values = {"folder": folder, "limits": limits, "close_s": 5.0}
    generate = {"checkpoint": "tiny", "output": folder, "device": "cpu", "clip": SPEC.model_dump()}
    generate |= {"solver": {"steps": 2}, "clean_video": True, "guidance": {"scale": 2.0, "audio_scale": 1.0}}
    return validate(ServiceConfig, {**values, "generate": generate}, source="test")


def service(folder: Path, *makers: Maker, **limits: object) -> ClipService:
    return ClipService(config(folder, **limits), about=ABOUT, makers=makers)


def ended(service: ClipService, job: JobStatus | str, *, within_s: float = 60.0) -> JobStatus:
    name = job if isinstance(job, str) else job.id
    end = time.monotonic() + within_s
    while (now := service.status(name)).state not in FINAL:
        assert time.monotonic() < end, now
        service.wait(name, seen=now.share, timeout_s=1.0)
    return now


def small_video(path: Path, *, seconds: float = 3.0, size: int = 48) -> Path:
    frames = np.zeros((round(16 * seconds), size, size, 3), dtype=np.uint8)
    frames[:, :, : size // 2] = np.linspace(40, 250, len(frames), dtype=np.uint8)[:, None, None, None]
    audio = np.sin(np.arange(round(48_000 * seconds)) / 20).astype(np.float32) / 4
    write_clip(path, frames=frames, audio=audio, fps=16, sample_rate=48_000)
    return path
