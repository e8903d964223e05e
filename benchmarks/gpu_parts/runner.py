"""Runs the parts of a benchmark one after the other, each under an alarm, and keeps what they found."""

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

MISSED = 0.15  # of the prediction: beyond it a figure wants an explanation


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number, and what was foretold of it."""

    name: str
    value: float
    unit: str
    predicted: float | None = None  # by the count in docs/performance.md, for this card; None: nothing was
    floor: float | None = None  # what the card's own ceilings allow at best


@dataclass(kw_only=True)
class Found:
    """What a part measured."""

    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)  # checks that did not hold

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        predicted: float | None = None,
        floor: float | None = None,
    ) -> None:
        self.figures.append(Figure(name=name, value=value, unit=unit, predicted=predicted, floor=floor))

    def check(self, name: str, holds: bool) -> None:
        """A law that must hold; one that does not makes the run fail."""
        self.details.setdefault("checks", {})[name] = holds
        if not holds:
            self.failed.append(name)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part: what it does, and the most seconds that it may take."""

    name: str
    seconds: float
    work: Callable[[Found], None]


class TooLong(BaseException):
    """Raised by the alarm; no `except Exception` holds it up."""


def run_parts(
    parts: Sequence[Part], *, output: Path, machine: dict[str, Any], limit_s: float = float("inf")
) -> int:
    """Run them; `output` (JSON) is written again after each. Parts that fail or are cut short are said so.

    Args:
        limit_s: seconds for all of them; those that it leaves no time for are said to be missing.

    Returns:
        how many parts failed, or found a check that does not hold.
    """
    written: dict[str, Any] = {"machine": machine, "parts": {}}
    began = time.perf_counter()
    for part in parts:
        found, start, trouble = Found(), time.perf_counter(), ""
        allowed = min(part.seconds, limit_s - (start - began))
        try:
            if allowed <= 0:
                raise TooLong
            with _alarm(allowed):
                part.work(found)
        except TooLong:
            trouble = f"the {limit_s:g} s of all are over"
            if allowed > 0:
                trouble = f"cut short after {allowed:.2g} s"
        except Exception as error:  # the next part may still tell something
            trouble = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            found.details["traceback"] = traceback.format_exc()
        if found.failed:
            trouble = "; ".join(
                [*([trouble] if trouble else []), *(f"{name} does not hold" for name in found.failed)]
            )
        seconds = time.perf_counter() - start
        written["parts"][part.name] = {
            "seconds": seconds,
            "trouble": trouble,
            "figures": [asdict(figure) for figure in found.figures],
            "details": found.details,
        }
        _write(output, written)
        print(f"{part.name}: {seconds:.1f} s{'; ' + trouble if trouble else ''}", file=sys.stderr, flush=True)
        _free()
    return sum(bool(part["trouble"]) for part in written["parts"].values())


def show(output: Path, console: Console) -> None:
    """The figures of a file that `run_parts` wrote, with prediction and floor beside each."""
    written = json.loads(output.read_text(encoding="utf-8"))
    table = Table("", "measured", "unit", "predicted", "floor", title=written["machine"].get("device"))
    for name, part in written["parts"].items():
        table.add_section()
        table.add_row(f"[bold]{name}", f"{part['seconds']:.0f} s", "", "", part["trouble"])
        for figure in part["figures"]:
            predicted, value = figure["predicted"], figure["value"]
            beside = "" if predicted is None else f"{predicted:.4g}"
            if predicted and abs(value / predicted - 1) > MISSED:
                beside += f" ({100 * (value / predicted - 1):+.0f} %)"
            floor = "" if figure["floor"] is None else f"{figure['floor']:.4g}"
            table.add_row(figure["name"], f"{value:.4g}", figure["unit"], beside, floor)
    console.print(table)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
    temporary.rename(path)


def _free() -> None:
    """What the last part held on the GPU."""
    import gc

    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
