"""Score folders of clips, write the tables, and hand the figures to a tracker."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from syncflow.config import dump_config
from syncflow.errors import UserError
from syncflow.evaluation.comparison import Comparison, withheld_because
from syncflow.evaluation.comparison_table import FILES
from syncflow.evaluation.extraction import Execute
from syncflow.evaluation.over_checkpoints import mean_markdown, mean_over, write_mean
from syncflow.evaluation.report import write_scores, write_summary
from syncflow.evaluation.suite import ClipScore, SystemSummary, list_clips, score_clips, summarise
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.files import require_writable
from syncflow.generation.sidecar import Sidecar
from syncflow.media.clip_folder import distinct_names
from syncflow.studies.learned_metrics import gathered, measure_systems, print_plan

Track = Callable[[EvaluateConfig, Sequence[SystemSummary], Comparison | None], None]
"""Sends the figures of an evaluation to where runs are kept."""


def evaluate(config: EvaluateConfig, *, track: Track, execute: Execute | None = None) -> int:
    """Status 0, or 3 when a clip failed (its reason is in scores.csv).

    Args:
        track: is called once, at the end, where the settings name a tracker.
        execute: computes the features of learned metrics in other processes; None: this one does.

    Raises:
        UserError: a folder that is missing, empty, given twice, or without a list of the split; no metric
            of a name; metrics that compare with real clips where there are none; an output that cannot be
            written.
    """
    systems = distinct_names(list(config.clips))
    listed = {
        system: list_clips(folder, split=config.split)
        for system, folder in zip(systems, config.clips, strict=True)
    }
    chosen, reference = gathered(config, listed)
    if config.plan:
        return print_plan(config, chosen, reference)
    require_writable(config.output)
    scores: dict[str, list[ClipScore]] = {}
    with Progress() as progress:
        task = progress.add_task("scoring", total=sum(len(system.clips) for system in chosen))
        for system in chosen:
            done = progress.tasks[task].completed

            def report(number: int, before: float = done) -> None:
                progress.update(task, completed=before + number)

            clips = [clip.path for clip in system.clips]
            scores[system.name] = score_clips(
                clips, spec=config.clip, tolerance_s=config.tolerance_s, report=report
            )
    summaries = []
    for system, folder in zip(chosen, config.clips, strict=True):
        summary = summarise(system.name, scores[system.name], best_of=_best_of(folder))
        reason = withheld_because(system, failed=summary.failed, max_failed=config.metrics.max_failed)
        reason = reason or summary.silent_because()
        summaries.append(summary.withheld(reason) if reason else summary)
    write_scores(config.output, scores)
    page = write_summary(config.output, summaries, tolerance_s=config.tolerance_s)
    for name in ("mean.csv", *([] if config.metrics.names else FILES)):  # of an earlier evaluation
        (config.output / name).unlink(missing_ok=True)
    if config.mean_as:
        figures = mean_over(summaries)
        write_mean(config.output / "mean.csv", config.mean_as, figures)
        with page.open("a", encoding="utf-8") as stream:
            stream.write("\n" + mean_markdown(config.mean_as, figures))
    dump_config(config, config.output / "resolved.yaml")
    Console().print(Markdown(page.read_text(encoding="utf-8")))
    comparison = None
    if config.metrics.names:
        comparison = measure_systems(config, chosen, reference, execute=execute)
    if config.tracking:
        track(config, summaries, comparison)
    print(f"scores in {config.output}")
    failed = any(summary.failed for summary in summaries) or (comparison and comparison.failures)
    return 3 if failed else 0


def first_sidecar(folder: Path) -> Sidecar | None:
    """Of the clips that generate.py made there; None for clips from elsewhere."""
    for path in sorted(folder.glob("[0-9]*-[0-9]*.json"))[:1]:
        with contextlib.suppress(UserError):  # another tool's file
            return Sidecar.read(path)
    return None


def _best_of(folder: Path) -> int:
    """How many candidates each clip in the folder was the best of, by the score that is reported here."""
    made = first_sidecar(folder)
    return int(made.settings.get("best_of", 1)) if made else 1
