"""The list of steps, and the one loop that runs it: in this process, or inside a Ray worker."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from preprocessing.caption import build_caption_step
from preprocessing.config import PrecomputeConfig
from preprocessing.decode import DecodeStep
from preprocessing.encode import Encoders, EncodeStep
from preprocessing.filters import FilterStep
from syncflow.errors import UserError
from syncflow.records import ClipRef, Dropped, EncodedClip

Step = Callable[[list[Any]], list[Any]]
Outcome = EncodedClip | Dropped

log = logging.getLogger(__name__)


def build_steps(config: PrecomputeConfig, *, encoders: Encoders, recipe: str) -> list[Step]:
    """Decode -> filter -> caption -> encode; each maps a list of records to one result for each.

    Args:
        config: the job.
        encoders: autoencoders and text encoder, loaded.
        recipe: hash of all that makes a row but its source (`recipe.py`).
    """
    return [
        DecodeStep(config.decode, config.spec, config.windows),
        FilterStep(config.filters),
        build_caption_step(config.caption, device=str(encoders.device)),
        EncodeStep(encoders, config.encode, spec=config.spec, recipe=recipe),
    ]


def run_steps(steps: Sequence[Step], refs: Sequence[ClipRef], *, at_once: int = 4) -> list[Outcome]:
    """One outcome for each clip, in order; frames of at most `at_once` clips are in memory."""
    groups = [list(refs[start : start + at_once]) for start in range(0, len(refs), at_once)]
    return [outcome for group in groups for outcome in _run_group(steps, group)]


def _run_group(steps: Sequence[Step], refs: list[ClipRef]) -> list[Outcome]:
    state: list[Any] = list(refs)
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
