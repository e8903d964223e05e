"""Rows -> a folder of clips, resumable by row; who runs the workers is given to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.outputs import ManifestLine, write_manifest
from syncflow.generation.plan import Batch, Done, file_name, make_plan
from syncflow.generation.sidecar import Clip
from syncflow.generation.worker import ClipWorker, Report, Score

MakeWorker = Callable[[], ClipWorker]
Execute = Callable[[MakeWorker, Sequence[Batch], Report], Iterable[Done]]
"""Runs workers over batches and yields what became of each, in any order. The third argument is called
with the number of clips done of the batch under way, parts of a clip included, where that is known."""


def run_in_loop(make_worker: MakeWorker, batches: Sequence[Batch], report: Report) -> Iterator[Done]:
    """The executor without Ray: one worker, in this process.

    Args:
        report: called with the share of the batch that is done.
    """
    worker = make_worker()
    for batch in batches:
        clips = len(batch.wanted)
        yield worker(batch, lambda share, clips=clips: report(share * clips))


def generate_clips(
    clips: Iterable[Clip],
    config: GenerateConfig,
    *,
    execute: Execute = run_in_loop,
    score: Score | None = None,
    report: Callable[[float], None] = lambda done: None,
) -> list[ManifestLine]:
    """Make the clips that the output folder lacks, then its manifest.csv; one line a clip.

    A video that cannot be decoded is a line with the reason (and a `UserError` if it is the only one).

    Args:
        clips: of `plan_clips`.
        execute: runs the workers.
        score: what `best_of` chooses by.
        report: called with the number of clips that are done, parts of a clip included.

    Raises:
        UserError: a request that cannot be met, or a folder of clips of other settings or weights.
    """
    plan = make_plan(clips, config)
    done = plan.done
    failures: dict[str, str] = {}
    notes: dict[str, str] = {}
    make_worker = partial(ClipWorker, config, weights=plan.weights, score=score)

    runner = execute if plan.batches else run_in_loop  # the weights of a whole folder are checked, too

    def within(clips: float) -> None:
        report(done + clips)

    for batch in runner(make_worker, plan.batches, within):
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
