"""What a job will cost, from a sample of its clips: hours, GB and failures, each with an interval."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from preprocessing.caption import captioner_weights
from preprocessing.config import PrecomputeConfig
from preprocessing.listing import anchored, list_clips
from preprocessing.load_encoders import load_encoders
from preprocessing.plan import make_plan
from preprocessing.recipe import make_recipe
from preprocessing.steps import Outcome
from preprocessing.worker import Committer, Decoder, Encoder, Work
from syncflow.data.parquet.finish import lost_shards
from syncflow.data.parquet.ledger import Ledger
from syncflow.noise import keyed_generator
from syncflow.records import ClipRef, EncodedClip

LEAST = 8  # clips of a sample
RESAMPLES = 2000
Z_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of the clips of a sample, and what each took."""

    outcomes: list[Outcome]
    decode_s: np.ndarray
    encode_s: np.ndarray
    bytes: np.ndarray  # on the disk

    @property
    def reasons(self) -> Counter[str]:
        """Clips by outcome: `accepted`, `failed: timeout` and the like."""
        return Counter(
            "accepted" if isinstance(one, EncodedClip) else f"{one.kind}: {one.reason}"
            for one in self.outcomes
        )


def print_estimate(config: PrecomputeConfig) -> int:
    """Try a sample in this process and print what the whole job is likely to take; nothing is kept.

    Raises:
        UserError: as the job itself: wrong source, weights or settings.
    """
    config = anchored(config)
    listing = list_clips(config)
    ledger = Ledger.read(config.output / "ledger")
    standing = ledger.rows(lost=lost_shards(config.output, ledger))
    plan = make_plan(listing, standing, config, attempts=ledger.tried, settled=ledger.settled)
    for line in (*listing.notes, *plan.told()):
        print(line)
    todo = plan.todo
    if not todo:
        print(f"all of {len(plan.inputs)} clips are decoded: nothing to try")
        return 0
    chosen = choose_sample(todo, share=config.plan_share)
    trial = try_clips(config, chosen)
    workers = 1 if config.executor == "loop" else config.workers or len(os.sched_getaffinity(0))
    Console().print(_table(trial, clips=len(todo), workers=workers))
    busy = trial.decode_s.sum() / (trial.decode_s.sum() + trial.encode_s.sum())
    print(
        f"{len(chosen)} of {len(todo)} clips tried, one at a time; {busy:.0%} of the time is decoding. "
        "Intervals hold 95 %; start-up (about a minute) and waiting for disks are not in them."
    )
    return 0


def choose_sample(refs: Sequence[ClipRef], *, share: float) -> list[ClipRef]:
    """A share of the clips, no fewer than 8, drawn without repeats; the same ones each time."""
    count = min(len(refs), max(LEAST, round(share * len(refs))))
    order = torch.randperm(len(refs), generator=keyed_generator("plan", len(refs))).tolist()
    return [refs[i] for i in sorted(order[:count])]


def try_clips(config: PrecomputeConfig, refs: Sequence[ClipRef]) -> Trial:
    """Decode, encode and write each clip, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        apart = config.model_copy(update={"output": Path(folder)})
        recipe = make_recipe(
            config, load_encoders(config.encode), captioner=captioner_weights(config.caption)
        ).sha256
        work = Work(config=apart, recipe=recipe, owner="", attempt=0)
        decode, encode, commit = Decoder(work), Encoder(work), Committer(work)
        encode(decode([refs[0]]))  # the first clip pays for what is made once
        outcomes, times = [], []
        for ref in track(refs, "trying clips", transient=True):
            start = time.perf_counter()
            decoded = decode([ref])
            middle = time.perf_counter()
            outcomes += encode(decoded)
            times.append((middle - start, time.perf_counter() - middle))
        commit(outcomes)
        size = sum(path.stat().st_size for path in Path(folder).glob("*/*.parquet"))
    windows = np.array([len(one.rows) if isinstance(one, EncodedClip) else 0 for one in outcomes], float)
    decode_s, encode_s = np.array(times).T
    share = windows / windows.sum() if windows.any() else np.full(len(outcomes), 1 / len(outcomes))
    return Trial(outcomes=outcomes, decode_s=decode_s, encode_s=encode_s, bytes=size * share)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the 95 % percentile bootstrap interval around it."""
    draw = np.random.default_rng(0)
    means = values[draw.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def share_interval(count: int, total: int) -> tuple[float, float, float]:
    """`count / total`, and Wilson's 95 % interval around it."""
    share, z = count / total, Z_95
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return share, max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _table(trial: Trial, *, clips: int, workers: int) -> Table:
    table = Table("", "expected", "from", "to", title=f"{clips} clips, {workers} workers")
    hours = np.array(mean_interval(trial.decode_s + trial.encode_s)) * clips / workers / 3600
    size = np.array(mean_interval(trial.bytes)) * clips / 1e9
    table.add_row("hours", *(f"{value:.3g}" for value in hours))
    table.add_row("GB", *(f"{value:.3g}" for value in size))
    for reason, count in trial.reasons.most_common():
        shares = share_interval(count, len(trial.outcomes))
        table.add_row(reason, *(f"{share:.1%}" for share in shares))
    for column in table.columns[1:]:
        column.justify = "right"
    return table
