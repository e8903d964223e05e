"""A whole precompute job, from the lock to `dataset.json`; who runs the workers is given to it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import yaml
from rich.console import Console
from rich.table import Table

from preprocessing.caption import captioner_weights
from preprocessing.config import PrecomputeConfig
from preprocessing.encode import Encoders, EncodeStep
from preprocessing.keys import offered_texts
from preprocessing.listing import anchored, list_clips
from preprocessing.load_encoders import load_encoders
from preprocessing.plan import Plan, make_plan
from preprocessing.progress import RateLine
from preprocessing.recipe import Recipe, check_recipe, make_recipe
from preprocessing.repair import put_damaged_aside
from preprocessing.sources.read import Listing
from preprocessing.worker import ShardWorker, Work
from syncflow.data.parquet import MANIFEST, DatasetManifest, LedgerRow
from syncflow.data.parquet.compact import BEYOND, compact_ledger
from syncflow.data.parquet.finish import finish_dataset, lost_shards
from syncflow.data.parquet.ledger import Ledger, tally
from syncflow.data.parquet.lock import writer_lock
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.records import ClipRef, StoredClip

RESOLVED = "resolved.yaml"
# settings of one run, not of the dataset
ONCE = ("only", "retry_failed", "plan", "repair", "drop_missing", "most_leaving")
OVER_BUDGET = 3  # exit status
Execute = Callable[[Work, list[list[ClipRef | StoredClip]]], Iterable[list[LedgerRow]]]


def run_in_loop(work: Work, groups: list[list[ClipRef | StoredClip]]) -> Iterator[list[LedgerRow]]:
    """The executor without Ray: one worker, in this process."""
    worker = ShardWorker(work)
    for group in groups:
        yield worker(group)


def precompute(config: PrecomputeConfig, *, execute: Execute = run_in_loop) -> int:
    """Do what the ledger lacks, finish the dataset and print what became of every clip.

    Until the new `dataset.json` is written, the dataset of the job before is there as it was.

    Args:
        config: the job.
        execute: runs workers over groups of clips and yields what each committed, in any order.

    Returns:
        Exit status: 0, or 3 when more clips failed, or are missing, than the budgets allow.

    Raises:
        UserError: wrong settings, a dataset of other settings or of another job, or no clip accepted.
    """
    config = anchored(config)
    listing = list_clips(config)  # a wrong source ends here, and wrong weights below: nothing is written
    for note in listing.notes:
        print(note, flush=True)
    print(f"{len(listing.chosen)} clips in {config.source.root}; loading the encoders", flush=True)
    encoders = load_encoders(config.encode)
    recipe = make_recipe(config, encoders, captioner=captioner_weights(config.caption))
    with writer_lock(config.output) as owner:
        if config.repair:
            for path in put_damaged_aside(config.output):
                print(f"{path}: damaged, put aside; its clips are done again", flush=True)
        ledger = Ledger.read(config.output / "ledger")
        standing = ledger.rows(lost=lost_shards(config.output, ledger))
        check_recipe(config, recipe, list(standing.values()))
        plan = _plan(config, listing, ledger, standing)
        recipe.write(config.output)
        if not (config.output / RESOLVED).is_file():
            _write_settings(config)
        work = Work(config=config, recipe=recipe.sha256, owner=owner, attempt=plan.attempt)
        _note(plan, work)
        _run(plan, work, execute)
        manifest = _finish(plan, config, recipe, encoders)
        _write_settings(config)
    _print(manifest, config)
    return _status(manifest, config)


def _plan(config: PrecomputeConfig, listing: Listing, ledger: Ledger, standing: dict) -> Plan:
    plan = make_plan(listing, standing, config, attempts=ledger.tried, settled=ledger.settled)
    for line in plan.told():
        print(line, flush=True)
    to_do = len(plan.todo) + len(plan.revised)
    print(f"{len(plan.inputs) - to_do} clips are done, {to_do} to do", flush=True)
    return plan


def _note(plan: Plan, work: Work) -> None:
    """Write the ledger rows of clips that moved or leave."""
    if plan.notes:
        texts_of = partial(offered_texts, config=work.config.caption)
        folder, recipe = work.config.output, work.recipe
        DatasetWriter(folder, recipe=recipe, owner=work.owner, footer={}, texts_of=texts_of).note(plan.notes)


def _run(plan: Plan, work: Work, execute: Execute) -> None:
    groups, folder = plan.groups(work.config.clips_per_shard), work.config.output
    if not groups:
        return
    finished = ()
    if (folder / MANIFEST).is_file():
        try:
            finished = DatasetManifest.read(folder).ledger_files or ()
        except UserError as error:
            print(f"{error}: it is written anew", flush=True)
    with RateLine(sum(map(len, groups))) as line:
        for number, rows in enumerate(execute(work, groups), start=1):
            line.add(rows)
            if number % BEYOND == 0:
                compact_ledger(folder / "ledger", keep=finished)


def _finish(plan: Plan, config: PrecomputeConfig, recipe: Recipe, encoders: Encoders) -> DatasetManifest:
    ledger = Ledger.read(config.output / "ledger")
    rows = ledger.rows(lost=lost_shards(config.output, ledger))
    counts = tally(rows.values())
    if not counts["accepted"]:
        reasons = {**counts["rejected"], **counts["failed"], **counts["missing"]}
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        raise UserError(
            f"{config.source.root}: none of {len(rows)} clips gave latents ({told}); the reasons are in "
            f"{config.output / 'ledger'}; mend the clips or the settings"
        )
    embed = EncodeStep(encoders, config.encode, spec=config.spec, recipe=recipe.sha256).embedding
    return finish_dataset(
        config.output,
        recipe=recipe.sha256,
        keys=[(ref.dataset, ref.clip_id) for ref in plan.inputs],
        spec=config.spec,
        frame_spans=recipe.frame_spans,
        video_vae=recipe.video_vae,
        audio_vae=recipe.audio_vae,
        text_encoder=recipe.text_encoder,
        config=config.model_dump(mode="json"),
        embed=embed,
        max_tokens=config.encode.text.max_tokens,
    )


def _write_settings(config: PrecomputeConfig) -> None:
    """Write `resolved.yaml`, without what holds for one run alone; as it is, it stays."""
    defaults = {name: type(config).model_fields[name].default for name in ONCE}
    kept = config.model_copy(update=defaults)
    text = yaml.safe_dump(kept.model_dump(mode="json"), sort_keys=False).encode()
    path = config.output / RESOLVED
    if not (path.is_file() and path.read_bytes() == text):
        with whole_file(path) as stream:
            stream.write(text)


def _status(manifest: DatasetManifest, config: PrecomputeConfig) -> int:
    failed, missing = sum(manifest.failed.values()), sum(manifest.missing.values())
    status = 0
    if failed > config.failure_budget * (manifest.inputs - missing):
        print(
            f"{failed} of {manifest.inputs - missing} clips failed, over failure_budget "
            f"{config.failure_budget:.0%}: exit status {OVER_BUDGET}"
        )
        status = OVER_BUDGET
    if missing > config.missing_budget * manifest.inputs:
        print(
            f"{missing} of {manifest.inputs} clips are missing, over missing_budget "
            f"{config.missing_budget:.0%}: exit status {OVER_BUDGET}"
        )
        status = OVER_BUDGET
    return status


def _print(manifest: DatasetManifest, config: PrecomputeConfig) -> None:
    folder = config.output
    table = Table("", "reason", "clips", title=f"{folder}")
    table.columns[2].justify = "right"
    table.add_row(
        "accepted", f"{manifest.windows} windows, {manifest.captions} captions", str(manifest.accepted)
    )
    for kind in ("rejected", "failed", "missing"):
        for reason, count in sorted(getattr(manifest, kind).items()):
            table.add_row(kind, reason, str(count))
    table.add_row("inputs", "", str(manifest.inputs), style="bold")
    Console().print(table)
    kept = [row for row in Ledger.read(folder / "ledger").rows().values() if row.not_renewed]
    if kept:
        print(
            f"{len(kept)} clips keep their former latents, for their files have changed and give none "
            f"(first: {kept[0].clip_id}, {kept[0].not_renewed}); mend them, or --retry-failed all"
        )
    if manifest.cut_captions:
        print(
            f"{manifest.cut_captions} of {manifest.captions} captions fill encode.text.max_tokens "
            f"{config.encode.text.max_tokens}: what is over was cut"
        )
    size = (manifest.latents_bytes + manifest.text_bytes) / 1e6
    print(f"{size:.1f} MB of latents and text; reasons and commands of each clip: {folder / 'ledger'}")
