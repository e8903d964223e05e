"""The learned metrics of an evaluation: systems against real clips, tables as files, figures for MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress

from syncflow.errors import UserError
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.comparison import Comparison, compare
from syncflow.evaluation.comparison_table import write_comparison
from syncflow.evaluation.evaluation_plan import plan_evaluation
from syncflow.evaluation.evaluation_set import System, reference_clips, system_of
from syncflow.evaluation.extraction import Execute, Item, clip_item, text_item
from syncflow.evaluation.metrics.catalogue import chosen_metrics
from syncflow.evaluation.protocol import ProtocolCard
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.media import MediaError
from syncflow.media.evaluation_set import ClipFile, read_evaluation_set
from syncflow.printable import printable


def measure_systems(
    config: EvaluateConfig,
    systems: Sequence[System],
    reference: Sequence[ClipFile],
    *,
    execute: Execute | None = None,
) -> Comparison:
    """Every chosen metric of every system; writes the tables into `config.output`.

    Args:
        execute: computes the features in other processes, which hold the backbones; this one then only asks
            them who they are, on its CPU.

    Raises:
        UserError: an unknown metric, or an earlier evaluation of another protocol.
    """
    metrics = chosen_metrics(config.metrics.names)
    held = config.metrics.backbones
    with Progress() as progress:
        task = progress.add_task("features", total=None)
        comparison = compare(
            systems,
            reference,
            metrics,
            backbones=Backbones(held.model_copy(update={"device": "cpu"}) if execute else held),
            spec=config.clip,
            features=config.metrics.features or config.output / "features",
            max_failed=config.metrics.max_failed,
            report=lambda done, total: progress.update(task, completed=done, total=total),
            execute=execute,
        )
    text = write_comparison(config.output, comparison, compare_with=config.metrics.compare_with)
    Console(width=160, soft_wrap=True).print(text, markup=False, highlight=False)
    return comparison


def print_plan(config: EvaluateConfig, systems: Sequence[System], reference: Sequence[ClipFile]) -> int:
    """What the metrics would take, a line a backbone; nothing is written."""
    clips = [clip for each in (*(s.clips for s in systems), reference) for clip in each]
    items: list[Item] = []
    for clip in clips:
        try:
            items.append(clip_item(clip, config.clip))
        except MediaError as error:
            print(f"{printable(clip.id)}: {error}")
    planned = plan_evaluation(
        items,
        [text_item(prompt) for prompt in sorted({clip.prompt for clip in clips} - {""})],
        chosen_metrics(config.metrics.names),
        backbones=Backbones(config.metrics.backbones),
        features=config.metrics.features or config.output / "features",
    )
    for backbone in planned:
        print(backbone.line())
    total = sum(p.missing * (p.seconds_per_clip or 0.0) for p in planned)
    memory = psutil.Process().memory_info().rss / 2**30
    print(f"{len(clips)} clips; about {total:.0f} s on one process; {memory:.1f} GiB with all weights loaded")
    return 0


def gathered(
    config: EvaluateConfig, listed: Mapping[str, Sequence[Path]]
) -> tuple[list[System], Sequence[ClipFile]]:
    """The systems and the real clips (none where no metric compares with them).

    Args:
        listed: the clips that each system's folder should hold, by its name.

    Raises:
        UserError: there is no metric of a name, an earlier evaluation cannot be read, there are no real
            clips, or metrics are chosen and neither a reference nor an evaluation set is given.
    """
    settings = config.metrics
    chosen_metrics(settings.names)
    for earlier in settings.compare_with:
        ProtocolCard.read(earlier / "protocol.json")
    reference: Sequence[ClipFile] = ()
    expected: Sequence[ClipFile] | None = None
    if settings.evaluation_set is not None:
        reference = expected = read_evaluation_set(settings.evaluation_set)
    elif settings.reference is not None:
        reference = reference_clips(settings.reference, split=config.split)
    elif settings.names:
        raise UserError(
            "metrics.names: these metrics compare with real clips; set metrics.reference to their folder, or "
            "metrics.evaluation_set"
        )
    folders = zip(listed.items(), config.clips, strict=True)
    return [system_of(name, folder, files, expected) for (name, files), folder in folders], reference
