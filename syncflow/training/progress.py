"""A line now and then: how far, how fast, and the losses."""

import time
from collections.abc import Mapping

from syncflow.training.loop import Callback

SHOWN = ("loss", "loss_video", "loss_audio", "gradient_norm")


class Progress(Callback):
    """Prints at the first log, then at most every `seconds`, and at the end."""

    def __init__(self, title: str, *, seconds: float = 5.0) -> None:
        self.title, self.seconds = title, seconds
        self.steps = self.start_step = 0
        self.began = self.printed = 0.0

    def on_start(self, *, start_step: int, steps: int) -> None:
        self.start_step, self.steps = start_step, steps
        self.began = time.monotonic()
        where = f"going on from step {start_step}" if start_step else "from the beginning"
        print(f"{self.title}: {steps} steps, {where}", flush=True)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        if step < self.steps and now - self.printed < self.seconds:
            return
        self.printed = now
        losses = "  ".join(f"{name} {metrics[name]:.4f}" for name in SHOWN if name in metrics)
        rate = metrics["steps_per_second"]
        left = (self.steps - step) / rate if rate else 0.0
        print(
            f"{self.title}: {step}/{self.steps}  {losses}  {rate:.2f} steps/s  {left / 60:.1f} min left",
            flush=True,
        )

    def on_end(self, step: int) -> None:
        minutes = (time.monotonic() - self.began) / 60
        print(f"{self.title}: {step - self.start_step} steps in {minutes:.1f} min", flush=True)
