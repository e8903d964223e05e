"""The one loop that runs a list of steps over a list of records."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from syncflow.errors import UserError
from syncflow.records import ClipRef, DecodedClip, Dropped, EncodedClip, StoredClip

Step = Callable[[list[Any]], list[Any]]
Outcome = EncodedClip | Dropped
Record = ClipRef | DecodedClip | StoredClip | EncodedClip | Dropped

log = logging.getLogger(__name__)


def run_steps(steps: Sequence[Step], records: Sequence[Record]) -> list[Any]:
    """Each step in turn on all records that are left; what was dropped stays as it is, in its place."""
    state: list[Any] = list(records)
    refs = [record if isinstance(record, ClipRef) else record.ref for record in records]
    for step in steps:
        alive = [i for i, item in enumerate(state) if not isinstance(item, Dropped)]
        results = _run_step(step, [state[i] for i in alive], [refs[i] for i in alive])
        for i, result in zip(alive, results, strict=True):
            state[i] = result
    return state


def _run_step(step: Step, items: list[Any], refs: list[ClipRef]) -> list[Any]:
    """The step on the whole group; if it raises, on each clip alone, so that one clip costs one row.

    Raises:
        UserError: the settings are wrong, not a clip.
    """
    if not items:
        return []
    try:
        results = step(items)
    except UserError:
        raise
    except Exception as error:
        if len(items) > 1:
            pairs = zip(items, refs, strict=True)
            return [result for item, ref in pairs for result in _run_step(step, [item], [ref])]
        name, clip = type(step).__name__, f"{refs[0].dataset}/{refs[0].clip_id}"
        log.exception("%s failed on %s; the clip is counted as failed", name, clip)
        detail = f"{name}: {type(error).__name__}: {error}"[:500]
        return [Dropped(ref=refs[0], kind="failed", reason="internal_error", detail=detail)]
    assert len(results) == len(items), f"{type(step).__name__}: {len(results)} results for {len(items)} clips"
    return results
