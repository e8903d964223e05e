"""A whole precompute job, from the lock to `dataset.json`; who runs the workers is given to it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from preprocessing.config import PrecomputeConfig
from preprocessing.load_encoders import load_encoders
from preprocessing.plan import Plan, list_clips, make_plan
from preprocessing.progress import RateLine
from preprocessing.recipe import Recipe, check_recipe, make_recipe
from preprocessing.worker import ShardWorker, Work
from syncflow.config import dump_config
from syncflow.data.parquet import MANIFEST, DatasetManifest, LedgerRow, read_ledger
from syncflow.data.parquet.compact import BEYOND, compact_ledger
from syncflow.data.parquet.finish import finish_dataset
from syncflow.data.parquet.ledger import tally
from syncflow.data.parquet.lock import writer_lock
from syncflow.errors import UserError
from syncflow.records import ClipRef

RESOLVED = "resolved.yaml"
OVER_BUDGET = 3  # exit status
Execute = Callable[[Work, list[list[ClipRef]]], Iterable[list[LedgerRow]]]


def run_in_loop(work: Work, groups: list[list[ClipRef]]) -> Iterator[list[LedgerRow]]:
    """The executor without Ray: one worker, in this process."""
    worker = ShardWorker(work)
    for group in groups:
        yield worker(group)


def precompute(config: PrecomputeConfig, *, execute: Execute = run_in_loop) -> int:
    """Do what the ledger lacks, finish the dataset and print what became of every clip.

    Args:
        config: the job.
        execute: runs workers over groups of clips and yields what each committed, in any order.

    Returns:
        Exit status: 0, or 3 when more clips failed than the budget allows.

    Raises:
        UserError: wrong settings, a dataset of other settings or of another job, or no clip accepted.
    """
    refs = list_clips(config)  # a wrong source ends here, and wrong weights below: nothing is written
    print(f"{len(refs)} clips in {config.source.root}; loading the encoders", flush=True)
    recipe = make_recipe(config, load_encoders(config.encode))
    with writer_lock(config.output) as owner:
        ledger = read_ledger(config.output / "ledger")
        check_recipe(config, recipe, list(ledger.values()))
        plan = make_plan(refs, ledger, retry_failed=config.retry_failed)
        print(f"{len(refs) - len(plan.todo)} clips are done, {len(plan.todo)} to do", flush=True)
        recipe.write(config.output)
        if not (config.output / RESOLVED).is_file() or not ledger:
            dump_config(config, config.output / RESOLVED)
        if plan.todo:
            (config.output / MANIFEST).unlink(missing_ok=True)  # until it is true again
            work = Work(config=config, recipe=recipe.sha256, owner=owner, attempt=plan.attempt)
            _run(plan, work, execute)
        manifest = _finish(plan, config, recipe)
    _print(manifest, config.output)
    return _status(manifest, config)


def _run(plan: Plan, work: Work, execute: Execute) -> None:
    with RateLine(len(plan.todo)) as line:
        for number, rows in enumerate(execute(work, plan.groups(work.config.clips_per_shard)), start=1):
            line.add(rows)
            if number % BEYOND == 0:
                compact_ledger(work.config.output / "ledger")


def _finish(plan: Plan, config: PrecomputeConfig, recipe: Recipe) -> DatasetManifest:
    compact_ledger(config.output / "ledger")
    rows = read_ledger(config.output / "ledger")
    counts = tally(rows.values())
    if not counts["accepted"]:
        reasons = {**counts["rejected"], **counts["failed"]}
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        raise UserError(
            f"{config.source.root}: none of {len(rows)} clips gave latents ({told}); the reasons are in "
            f"{config.output / 'ledger'}; mend the clips or the settings"
        )
    return finish_dataset(
        config.output,
        recipe=recipe.sha256,
        keys=[(ref.dataset, ref.clip_id) for ref in plan.refs],
        spec=config.spec,
        frame_spans=recipe.frame_spans,
        video_vae=recipe.video_vae,
        audio_vae=recipe.audio_vae,
        text_encoder=recipe.text_encoder,
        config=config.model_dump(mode="json"),
    )


def _status(manifest: DatasetManifest, config: PrecomputeConfig) -> int:
    failed = sum(manifest.failed.values())
    if failed <= config.failure_budget * manifest.inputs:
        return 0
    print(
        f"{failed} of {manifest.inputs} clips failed, over failure_budget {config.failure_budget:.0%}: exit "
        f"status {OVER_BUDGET}"
    )
    return OVER_BUDGET


def _print(manifest: DatasetManifest, folder: Path) -> None:
    table = Table("", "reason", "clips", title=f"{folder}")
    table.columns[2].justify = "right"
    table.add_row(
        "accepted", f"{manifest.windows} windows, {manifest.captions} captions", str(manifest.accepted)
    )
    for kind, reasons in (("rejected", manifest.rejected), ("failed", manifest.failed)):
        for reason, count in sorted(reasons.items()):
            table.add_row(kind, reason, str(count))
    table.add_row("inputs", "", str(manifest.inputs), style="bold")
    Console().print(table)
    size = (manifest.latents_bytes + manifest.text_bytes) / 1e6
    print(f"{size:.1f} MB of latents and text; reasons and commands of each clip: {folder / 'ledger'}")
