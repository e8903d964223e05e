"""What is still to be done: the source's listing against what the ledger answers for.

An error of the moment (a disk that is away, a file that cannot be read) is no news about a clip: what was
accepted stays accepted. What the tables say of a clip is news, and is followed at the least cost.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from preprocessing.caption import NO_CAPTION
from preprocessing.config import PrecomputeConfig
from preprocessing.keys import offered_texts
from preprocessing.source_state import SourceStates
from preprocessing.sources.read import Listing
from syncflow.data.parquet import LedgerRow
from syncflow.data.parquet.ledger import ClipKey, span_key, text_key
from syncflow.data.parquet.writer import reproduce_command
from syncflow.errors import UserError
from syncflow.printable import storable
from syncflow.records import ClipRef, StoredClip
from syncflow.storage import inside, location

T = TypeVar("T")
MOST_OF_A_FILE = 64  # clips of one file that are always done by one worker


@dataclass(kw_only=True)
class Plan:
    """A job: its inputs, and what is to be done with each."""

    inputs: list[ClipRef]  # each has a row when the job is done
    todo: list[ClipRef] = field(default_factory=list)  # to decode
    revised: list[StoredClip] = field(default_factory=list)  # captions or split changed, no more
    notes: list[LedgerRow] = field(default_factory=list)  # rows of clips that moved, or that leave
    away: int = 0  # accepted clips whose files cannot be read now
    accepted: int = 0  # of all that are listed
    elsewhere: int = 0  # clips of the dataset that lie outside the source's root
    attempt: int = 0

    def groups(self, size: int) -> list[list[ClipRef | StoredClip]]:
        """The clips to do, as they are committed together; the clips of one file stay together."""
        revised = sorted(self.revised, key=lambda clip: clip.shard)
        groups: list[list[ClipRef | StoredClip]] = [list(group) for group in _pack(self.todo, size)]
        return groups + [list(group) for group in _chunks(revised, size)]

    def told(self) -> Iterator[str]:
        """What the user should know before the work begins, a line each."""
        leaving = sum(row.kind == "left" for row in self.notes)
        if self.away:
            yield (
                f"{self.away} of {self.accepted} sources are away: their clips stay as they are "
                "(--drop-missing takes them out of the dataset)"
            )
        if self.elsewhere:
            yield f"{self.elsewhere} clips of the dataset lie outside this source's root, and stay"
        if leaving:
            yield f"{leaving} clips leave the dataset: the source names them no more"
        if self.revised:
            yield f"{len(self.revised)} clips have another caption or split: they are not decoded again"


def make_plan(
    listing: Listing,
    ledger: Mapping[ClipKey, LedgerRow],
    config: PrecomputeConfig,
    *,
    attempts: Iterable[LedgerRow] = (),
    settled: int = -1,
) -> Plan:
    """What to do so that the dataset follows its source.

    Args:
        listing: the source's clips.
        ledger: the row that stands for each clip.
        config: the job.
        attempts: every row of the ledger, from which the number of this attempt follows.
        settled: the highest attempt of finished jobs.

    Raises:
        UserError: no clip failed for `retry_failed` (the reasons that there are, are named); an id that came
            from a file of another root; more clips would leave than `most_leaving`.
    """
    _check_reason(ledger, config.retry_failed)
    maker = _Maker(listing, ledger, config)
    plan = maker.plan()
    touched = {(ref.dataset, ref.clip_id) for ref in (*plan.todo, *(clip.ref for clip in plan.revised))}
    touched |= {row.key for row in plan.notes}
    plan.attempt = max([settled, *(row.attempt for row in attempts if row.key in touched)]) + 1
    plan.notes = [dataclasses.replace(row, attempt=plan.attempt) for row in plan.notes]
    if any(row.kind == "left" for row in plan.notes):
        plan.attempt += 1  # what leaves may come back in the same job, as a clip without a file
    return plan


class _Maker:
    """Looks at each clip once."""

    def __init__(
        self, listing: Listing, ledger: Mapping[ClipKey, LedgerRow], config: PrecomputeConfig
    ) -> None:
        self.listing, self.ledger, self.config = listing, ledger, config
        self.root = location(config.source.root)
        self.states = SourceStates()
        self.texts_of = partial(offered_texts, config=config.caption)
        self.paths = {row.path for row in ledger.values() if row.kind == "accepted"}
        self.made = Plan(inputs=[])

    def plan(self) -> Plan:
        chosen = {(ref.dataset, ref.clip_id) for ref in self.listing.chosen}
        alone = bool(self.config.only)
        for ref in self.listing.chosen if alone else self.listing.clips:
            key = ref.dataset, ref.clip_id
            row = self.ledger.get(key)
            if row is not None:
                self.made.accepted += row.kind == "accepted"
                self._follow(ref, row)
            elif key in chosen and not self._stands_for_others(ref):
                self.made.todo.append(ref)
            else:
                continue
            self.made.inputs.append(ref)
        if not alone:
            self._leave()
        return self.made

    def _stands_for_others(self, ref: ClipRef) -> bool:
        """Whether the clip is listed only since its file, of which there are segments, cannot be read now."""
        if storable(str(ref.path)) not in self.paths or not self.states.is_away(ref.path):
            return False
        self.made.away += 1
        return True

    def _follow(self, ref: ClipRef, row: LedgerRow) -> None:
        made, config = self.made, self.config
        if ref.known_bad or row.reason.startswith("known_bad"):
            if row.reason != (f"known_bad_{ref.known_bad}" if ref.known_bad else ""):
                made.todo.append(ref)
            return
        retried = row.not_renewed or (row.reason if row.kind == "failed" else "")
        if retried and config.retry_failed in (retried, "all"):
            made.todo.append(ref)
            return
        if self._is_away(ref, row):
            self._away(ref, row)
        elif row.kind == "missing" or not self._same_file(ref, row) or row.span_key != span_key(ref):
            made.todo.append(ref)
        else:
            self._follow_table(ref, row)

    def _is_away(self, ref: ClipRef, row: LedgerRow) -> bool:
        if self.states.is_away(ref.path):
            return True
        state = self.states.of(ref.path)
        if (state.bytes, state.mtime_ns) == (row.source_bytes, row.source_mtime_ns):
            return False  # as it was read
        return not self.states.is_readable(ref.path)

    def _away(self, ref: ClipRef, row: LedgerRow) -> None:
        if row.kind != "accepted":
            return
        if self.config.drop_missing:
            self.made.notes.append(dataclasses.replace(row, kind="left"))
            self.made.todo.append(ref)
            return
        self.made.away += 1
        if row.span_key == span_key(ref):
            self._revise(ref, row)

    def _same_file(self, ref: ClipRef, row: LedgerRow) -> bool:
        """Whether the file is the one that the row tells of.

        Raises:
            UserError: it is another one, of another root.
        """
        state = self.states.of(ref.path)
        if (state.bytes, state.mtime_ns) == (row.source_bytes, row.source_mtime_ns):
            return True
        if row.source_sha256 and self.states.sha256(ref.path) == row.source_sha256:
            return True
        elsewhere = storable(str(ref.path)) != row.path and not inside(row.path, self.root)
        if elsewhere and row.source_sha256 and not self.config.source.moved:
            raise UserError(
                f"{self.config.output}: clip {ref.clip_id!r} was made from {row.path}, and {ref.path} holds "
                "something else; give another --output for another folder of clips, or --source.moved if "
                "these clips have moved and changed"
            )
        return False

    def _follow_table(self, ref: ClipRef, row: LedgerRow) -> None:
        if row.kind == "accepted" and self._revise(ref, row):
            return
        if row.reason == NO_CAPTION and row.text_key != text_key(ref, self.texts_of):
            self.made.todo.append(ref)
            return
        state = self.states.of(ref.path)
        found = storable(str(ref.path)), state.bytes, state.mtime_ns
        if found != (row.path, row.source_bytes, row.source_mtime_ns):
            path, size, time = found
            moved = dataclasses.replace(
                row,
                path=path,
                source_bytes=size,
                source_mtime_ns=time,
                reproduce=reproduce_command(self.config.output, ref),
            )
            self.made.notes.append(moved)

    def _revise(self, ref: ClipRef, row: LedgerRow) -> bool:
        if (row.split, row.text_key) == (ref.split, text_key(ref, self.texts_of)):
            return False
        state = row.source_bytes, row.source_mtime_ns
        self.made.revised.append(StoredClip(ref=ref, shard=row.shard, source_state=state))
        return True

    def _leave(self) -> None:
        """Clips of the dataset that the source does not name.

        Of a folder the files are the list, so one that is not there is away. Of the others the tables are;
        but which segments a video has is known by its file.
        """
        named = {(ref.dataset, ref.clip_id) for ref in self.listing.clips}
        leaving = []
        for key, row in sorted(self.ledger.items()):
            if key in named:
                continue
            if not inside(row.path, self.root):
                self.made.elsewhere += 1
                continue
            away = not self.listing.by_table_alone and self.states.is_away(location(row.path))
            leaves = self.config.drop_missing if away else self.listing.by_table
            if leaves:
                leaving.append(dataclasses.replace(row, kind="left"))
            elif row.kind == "accepted":
                self.made.accepted += 1
                self.made.away += away
        if leaving and len(leaving) > self.config.most_leaving * len(self.ledger):
            raise UserError(
                f"{self.config.output}: {len(leaving)} of {len(self.ledger)} clips would leave, first "
                f"{leaving[0].clip_id!r}, as the source names them no more; over most_leaving "
                f"{self.config.most_leaving:g}: give the whole table, another --output, or --most-leaving 1"
            )
        self.made.notes += leaving


def _check_reason(ledger: Mapping[ClipKey, LedgerRow], retry_failed: str) -> None:
    reasons = {row.reason for row in ledger.values() if row.kind == "failed"}
    reasons = sorted(reasons | {row.not_renewed for row in ledger.values() if row.not_renewed})
    if retry_failed and retry_failed not in ("all", *reasons):
        raise UserError(
            f"--retry-failed {retry_failed}: no clip failed for that reason; expected all or one of: "
            f"{', '.join(reasons) or 'none failed'}"
        )


def _pack(refs: Sequence[ClipRef], size: int) -> Iterator[list[ClipRef]]:
    """Groups of at least `size` clips, but for the last, none of which ends within a file of few clips."""
    by_file: dict[str, list[ClipRef]] = {}
    for ref in refs:
        by_file.setdefault(str(ref.path), []).append(ref)
    group: list[ClipRef] = []
    for clips in by_file.values():
        for part in _chunks(clips, max(size, MOST_OF_A_FILE)):
            group += part
            if len(group) >= size:
                yield group
                group = []
    if group:
        yield group


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
