"""What the service asks of a maker of clips, and what it gets back; needs no model in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from syncflow.serving.jobs import Result
from syncflow.serving.request import ClipRequest

WINDOW = "window.mp4"  # the cut of an uploaded video, in the job's folder
CLIP = "00000-0"  # stem of a job's files, those of generate.py's first row


@dataclass(frozen=True, kw_only=True)
class Order:
    """One clip to make. The requests of a batch have one `batch_key`."""

    id: str
    request: ClipRequest  # with every number in it
    folder: Path  # for its files; holds WINDOW where the request has a video


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a clip is."""

    id: str
    share: float
    preview: bytes = b""  # PNG; empty: none is due


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an order: a result, or why there is none (one line); neither when it was cancelled."""

    id: str
    result: Result | None = None
    error: str = ""


Tell = Callable[[Progress], None]
Cancelled = Callable[[str], bool]  # whether the order of that id is not wanted any more


class Maker(Protocol):
    """Makes a batch: `ClipMaker`, or what asks one elsewhere."""

    def __call__(self, orders: Sequence[Order], *, tell: Tell, cancelled: Cancelled) -> list[Outcome]:
        """One outcome per order. Raises MakerLostError when others may try.

        Args:
            tell: called with an order's share that is done, and its preview.
            cancelled: whether an order is no longer wanted.
        """
        ...


class MakerLostError(Exception):
    """What makes the clips went away in the midst of a batch; its orders may be given to another."""
