"""Rows -> a folder of clips, resumable by row; who runs the workers is given to it."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from syncflow.errors import UserError
from syncflow.files import require_writable
from syncflow.generation.config import GenerateConfig
from syncflow.generation.outputs import ManifestLine, write_manifest
from syncflow.generation.plan import Batch, Done, file_name, make_plan
from syncflow.generation.sidecar import Clip
from syncflow.jobs import Execute, run_in_loop

if TYPE_CHECKING:
    from syncflow.generation.worker import ClipWorker, Score  # imports torch and diffusers


def generate_clips(
    clips: Iterable[Clip],
    config: GenerateConfig,
    *,
    execute: Execute | None = None,
    score: "Score | None" = None,
    report: Callable[[float], None] = lambda done: None,
) -> list[ManifestLine]:
    """Make the clips that the output folder lacks, then its manifest.csv; one line a clip.

    A video that cannot be decoded is a line with the reason (and a `UserError` if it is the only one).

    Args:
        clips: of `plan_clips`.
        execute: runs `ClipWorker`s over batches; None: one in this process.
        score: what `best_of` chooses by.
        report: called with the number of clips that are done, parts of a clip included.

    Raises:
        UserError: a request that cannot be met, or a folder of clips of other settings or weights.
    """
    plan = make_plan(clips, config)
    require_writable(config.output, make=False)
    done = plan.done
    failures: dict[str, str] = {}
    notes: dict[str, str] = {}
    make_worker = partial(_clip_worker, config, weights=plan.weights, score=score)

    def worker_here() -> Callable[[Batch], Done]:
        """A worker that reports parts of a clip, too."""
        worker = make_worker()
        return lambda batch: worker(batch, lambda share: report(done + share * len(batch.wanted)))

    if execute is None or not plan.batches:  # the weights of a whole folder are checked, too
        results = run_in_loop(worker_here, plan.batches)
    else:
        results = execute(make_worker, plan.batches)
    for batch in results:
        failures |= batch.failures
        notes |= batch.notes
        done += batch.clips
        report(float(done))
    if failures and len(plan.clips) == 1:
        (name,) = failures
        raise UserError(f"video {plan.clips[0].video}: {failures[name]}")
    lines = [
        ManifestLine(
            clip=clip,
            file=file_name(clip, config),
            failure=failures.get(clip.name, ""),
            note=notes.get(clip.name, ""),
        )
        for clip in plan.clips
    ]
    write_manifest(config.output / "manifest.csv", lines, seed=config.seed)
    return lines


def _clip_worker(
    config: GenerateConfig, *, weights: dict[str, str] | None, score: "Score | None"
) -> "ClipWorker":
    """A worker, in the process that is to do the work: one that only hands it out imports no model."""
    from syncflow.generation.worker import ClipWorker

    return ClipWorker(config, weights=weights, score=score)
