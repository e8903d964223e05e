"""Which clips are still to be done: the source, less what the ledger already answers for."""

from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.config import PrecomputeConfig
from preprocessing.sources.read import read_source
from syncflow.data.parquet import LedgerRow
from syncflow.data.parquet.ledger import ClipKey
from syncflow.data.parquet.writer import Source
from syncflow.errors import UserError
from syncflow.records import ClipRef


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job: the clips of the source, those to do, and the number of this attempt."""

    refs: list[ClipRef]
    todo: list[ClipRef]
    attempt: int

    def groups(self, size: int) -> list[list[ClipRef]]:
        """The clips to do, as they are committed together."""
        return [self.todo[start : start + size] for start in range(0, len(self.todo), size)]


def list_clips(config: PrecomputeConfig) -> list[ClipRef]:
    """The clips of the source, or the one that `only` names.

    Raises:
        UserError: what the source refuses, or `only` names no clip of it.
    """
    refs = list(read_source(config.source))
    if config.only:
        refs = [ref for ref in refs if ref.clip_id == config.only]
        if not refs:
            raise UserError(f"--only {config.only!r}: no such clip in {config.source.root}")
    return refs


def make_plan(refs: list[ClipRef], ledger: dict[ClipKey, LedgerRow], *, retry_failed: str = "") -> Plan:
    """Leave out what is done.

    A clip is done again when its file has changed, or when it failed for the reason `retry_failed` (`all`:
    for any).

    Raises:
        UserError: no clip failed for `retry_failed`; the reasons that there are, are named.
    """
    reasons = sorted({row.reason for row in ledger.values() if row.kind == "failed"})
    if retry_failed and retry_failed not in ("all", *reasons):
        raise UserError(
            f"--retry-failed {retry_failed}: no clip failed for that reason; expected all or one of: "
            f"{', '.join(reasons) or 'none failed'}"
        )
    todo = [ref for ref in refs if not _is_done(ref, ledger, retry_failed)]
    return Plan(refs=refs, todo=todo, attempt=_next_attempt(todo, ledger))


def _is_done(ref: ClipRef, ledger: dict[ClipKey, LedgerRow], retry_failed: str) -> bool:
    row = ledger.get((ref.dataset, ref.clip_id))
    if row is None or row.reason.startswith("known_bad") != bool(ref.known_bad):
        return False  # new, or the list of known bad clips has changed
    if row.kind == "failed" and retry_failed in (row.reason, "all"):
        return False
    try:
        status = ref.path.stat()
        if (status.st_size, status.st_mtime_ns) == (row.source_bytes, row.source_mtime_ns):
            return True
    except (OSError, ValueError):
        return row.source_sha256 == ""  # it was not there then either
    sha256 = Source.of(ref.path).sha256
    return sha256 != "" and sha256 == row.source_sha256  # copied anew, with the same bytes


def _next_attempt(todo: Sequence[ClipRef], ledger: dict[ClipKey, LedgerRow]) -> int:
    tried = [row.attempt for ref in todo if (row := ledger.get((ref.dataset, ref.clip_id)))]
    return max(tried) + 1 if tried else 0
