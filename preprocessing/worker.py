"""The parts of a job's work, apart or in one process: decode, encode, commit.

Each part is built from the job's `Work` and maps a list of records to one record for each, so that any
executor can place them: all three in one worker (`ShardWorker`), or each in workers of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from preprocessing.config import PrecomputeConfig
from preprocessing.decode import DecodeStep
from preprocessing.filters import FilterStep
from preprocessing.keys import offered_texts
from preprocessing.steps import Outcome, run_steps
from syncflow.data.parquet import LedgerRow
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.errors import UserError
from syncflow.records import ClipRef, DecodedClip, Dropped, StoredClip


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every worker of a job is told."""

    config: PrecomputeConfig
    recipe: str  # the driver's recipe hash
    owner: str  # id of the job that holds the dataset's lock
    attempt: int  # of this job's clips; the highest of a clip counts


class Decoder:
    """Decode, score and filter; needs no model."""

    def __init__(self, work: Work) -> None:
        config = work.config
        self.steps = [
            DecodeStep(
                config.decode, config.spec, config.windows, overview_frames=config.caption.overview_frames
            ),
            FilterStep(config.filters),
        ]

    def __call__(self, refs: list[ClipRef | StoredClip]) -> list[DecodedClip | StoredClip | Dropped]:
        """One decoded clip, or why there is none, for each; what is stored already goes by."""
        return _apart(refs, ClipRef, lambda clips: run_steps(self.steps, clips))


class Encoder:
    """Caption and encode; holds the models.

    Raises:
        UserError: this machine's weights are not those of the driver, or a model cannot be loaded.
    """

    def __init__(self, work: Work) -> None:
        # torch and transformers: not where clips decode
        from preprocessing.caption import build_caption_step, captioner_weights
        from preprocessing.encode import EncodeStep
        from preprocessing.load_encoders import load_encoders
        from preprocessing.recipe import make_recipe
        from preprocessing.revise import ReviseStep

        config = work.config
        encoders = load_encoders(config.encode)
        mine = make_recipe(config, encoders, captioner=captioner_weights(config.caption)).sha256
        if mine != work.recipe:
            raise UserError(
                f"encode: this worker's weights and decoder give recipe {mine[:12]}, the driver's "
                f"{work.recipe[:12]}; give all nodes the same environment and models"
            )
        encode = EncodeStep(encoders, config.encode, spec=config.spec, recipe=work.recipe)
        self.steps: list[Any] = [build_caption_step(config.caption, device=str(encoders.device)), encode]
        self.revise = ReviseStep(config.output, config.caption, encode)

    def __call__(self, clips: list[DecodedClip | StoredClip | Dropped]) -> list[Outcome]:
        """One outcome for each."""
        revised = _apart(clips, StoredClip, lambda stored: run_steps([self.revise], stored))
        return _apart(revised, (DecodedClip, Dropped), lambda rest: run_steps(self.steps, rest))


class Committer:
    """Writes the outcomes of a group of clips as one shard."""

    def __init__(self, work: Work) -> None:
        settings = work.config.model_dump(mode="json")
        self.attempt = work.attempt
        self.writer = DatasetWriter(
            work.config.output,
            recipe=work.recipe,
            owner=work.owner,
            footer=settings,
            texts_of=partial(offered_texts, config=work.config.caption),
        )

    def __call__(self, outcomes: list[Outcome]) -> list[LedgerRow]:
        """One ledger row for each."""
        return self.writer.commit(outcomes, attempt=self.attempt)


class ShardWorker:
    """All three parts in one process: turns a group of clips into one committed shard."""

    def __init__(self, work: Work) -> None:
        self.decode, self.encode, self.commit = Decoder(work), Encoder(work), Committer(work)
        self.at_once = work.config.clips_at_once

    def __call__(self, refs: list[ClipRef | StoredClip]) -> list[LedgerRow]:
        """Process and commit; frames of at most `clips_at_once` clips are in memory."""
        parts = [refs[start : start + self.at_once] for start in range(0, len(refs), self.at_once)]
        return self.commit([outcome for part in parts for outcome in self.encode(self.decode(part))])


def _apart(
    records: list[Any], kind: type | tuple[type, ...], work: Callable[[list[Any]], list[Any]]
) -> list[Any]:
    """What `work` makes of the records of a kind, in their places; the others stay as they are."""
    done = iter(work([record for record in records if isinstance(record, kind)]))
    return [next(done) if isinstance(record, kind) else record for record in records]
