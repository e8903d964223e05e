"""Makes batches of clips: the pipeline in memory, orders in, files and outcomes out."""

import gc
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncflow.errors import UserError
from syncflow.evaluation.sync import sync_score
from syncflow.generation.inputs import Inputs, read_inputs
from syncflow.generation.loading import load_pipeline
from syncflow.generation.sidecar import Clip
from syncflow.generation.worker import ClipWorker, Made
from syncflow.hashing import file_sha256
from syncflow.records import AVLatents
from syncflow.serving.config import ServiceConfig
from syncflow.serving.jobs import Result
from syncflow.serving.orders import WINDOW, Cancelled, Order, Outcome, Progress, Tell
from syncflow.serving.preview import Previews
from syncflow.serving.request import About, settings

LOG = logging.getLogger(__name__)


class AllCancelledError(Exception):
    """No order of the batch is wanted any more."""


class ClipMaker:
    """One pipeline; a process or GPU has one, and gives it batch after batch."""

    def __init__(self, config: ServiceConfig) -> None:
        """Raises UserError as `load_pipeline`."""
        self._config = config
        self._loaded = load_pipeline(config.generate)
        pipeline, made = self._loaded.pipeline, config.generate
        rows, columns = pipeline.strides
        clip = made.clip
        self.about = About(
            model=made.checkpoint.name,
            device=str(pipeline._execution_device),
            weights=self._loaded.weights,
            row_stride=rows,
            column_stride=columns,
            clip=pipeline.spec(height=clip.height, width=clip.width, num_frames=clip.num_frames),
            steps=made.solver.steps,
            guidance_scale=made.guidance.scale,
            audio_guidance_scale=made.guidance.audio_scale,
        )

    def __call__(self, orders: Sequence[Order], *, tell: Tell, cancelled: Cancelled) -> list[Outcome]:
        """Make the clips of one batch; one outcome per order, whatever happens to the others.

        A batch for which there is too little memory is made anew, clip by clip.

        Args:
            tell: called with an order's share that is done, and its preview.
            cancelled: whether an order is no longer wanted.
        """
        try:
            return self._made(orders, tell=tell, cancelled=cancelled)
        except AllCancelledError:
            return [Outcome(id=order.id) for order in orders]
        except UserError as error:
            return [Outcome(id=order.id, error=str(error)) for order in orders]
        except (torch.OutOfMemoryError, MemoryError):
            gc.collect()
            torch.cuda.empty_cache()
            if len(orders) > 1:
                return [self([order], tell=tell, cancelled=cancelled)[0] for order in orders]
            return [Outcome(id=orders[0].id, error="out of memory; ask for a smaller or shorter clip")]
        except Exception:
            LOG.exception("batch of %s", ", ".join(order.id for order in orders))
            return [
                Outcome(id=order.id, error="could not be made; the server's log names the fault")
                for order in orders
            ]

    def _made(self, orders: Sequence[Order], *, tell: Tell, cancelled: Cancelled) -> list[Outcome]:
        begun = time.monotonic()
        worker = ClipWorker(settings(orders[0].request, self._config.generate), loaded=self._loaded)
        given = {order.id: self._given(order, worker) for order in orders}
        outcomes = {
            name: Outcome(id=name, error=each.failure) for name, (_, each) in given.items() if each.failure
        }
        good = [order for order in orders if order.id not in outcomes]
        if not good:
            return list(outcomes.values())
        previews = Previews(lambda z: self._frames(z, worker), count=self._config.previews)

        def report(share: float) -> None:
            if all(cancelled(order.id) for order in good):
                raise AllCancelledError
            for order in good:
                tell(Progress(id=order.id, share=share))

        shown = [
            place for place, order in enumerate(good) if order.request.preview and not order.request.video
        ]

        def watch(t: float, latents: AVLatents) -> None:
            if shown:
                for place, image in previews(t, latents, shown).items():
                    tell(Progress(id=good[place].id, share=0.0, preview=image))

        clips = [given[order.id][0] for order in good]
        inputs = [given[order.id][1] for order in good]
        best = worker.best(clips, inputs, range(len(good)), report=report, watch=watch)
        for place, order in enumerate(good):
            if cancelled(order.id):
                outcomes[order.id] = Outcome(id=order.id)
                continue
            # the sidecar names no neighbour: their prompts are others' business
            worker.write(best[place], clips[place : place + 1], 0, folder=order.folder)
            result = self._result(best[place], inputs[place], worker, seconds=time.monotonic() - begun)
            outcomes[order.id] = Outcome(id=order.id, result=result)
        return [outcomes[order.id] for order in orders]

    def _given(self, order: Order, worker: ClipWorker) -> tuple[Clip, Inputs]:
        path = order.folder / WINDOW if order.request.video else None
        clip = Clip(
            row=0,
            copy_number=0,
            prompt=order.request.prompt,
            video="" if path is None else str(path),
            video_sha256="" if path is None else file_sha256(path),
            seed=order.request.seed,
        )
        inputs = read_inputs(clip, worker.config, worker.spec)
        # what clients read names no folder of the server
        inputs = replace(inputs, failure=inputs.failure.replace(str(path), "video"))
        return clip.model_copy(update={"video": WINDOW if path else ""}), inputs

    def _frames(self, latents: Tensor, worker: ClipWorker) -> np.ndarray:
        decoded: Any = self._loaded.pipeline.decode(AVLatents(video=latents, audio=None), worker.spec)
        return decoded.frames[0]

    def _result(self, made: Made, inputs: Inputs, worker: ClipWorker, *, seconds: float) -> Result:
        assert made.frames is not None and made.audio is not None, "modalities are both"
        spec = worker.spec
        score = sync_score(made.frames, made.audio, fps=spec.fps, sample_rate=spec.sample_rate)
        return Result(
            sync_f1=None if math.isnan(score.f1) else score.f1,
            sync_offset_ms=None if math.isnan(score.offset_ms) else score.offset_ms,
            audio_onsets=score.num_audio_onsets,
            motion_peaks=score.num_motion_peaks,
            seconds=seconds,
            note=inputs.note,
        )
