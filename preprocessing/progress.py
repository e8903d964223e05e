"""One line that says how a job goes: clips done, rate, time left, and what became of them."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TextIO

from syncflow.data.parquet import LedgerRow


class RateLine:
    """Prints at most every `every_s` seconds; on a terminal it rewrites its line.

    Args:
        total: clips to do.
        every_s: least time between two prints, seconds.
        clock: seconds that only go forward.
        stream: where to print.
    """

    def __init__(
        self,
        total: int,
        *,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        self.total, self.every_s, self.clock = total, every_s, clock
        self.stream = stream or sys.stdout
        self.kinds: Counter[str] = Counter()
        self.started = self.printed = clock()

    def add(self, rows: Iterable[LedgerRow]) -> None:
        """Count clips that are done."""
        self.kinds.update(row.kind for row in rows)
        if self.clock() - self.printed >= self.every_s or self.done == self.total:
            self._print()

    @property
    def done(self) -> int:
        return sum(self.kinds.values())

    def _print(self) -> None:
        self.printed = self.clock()
        rate = self.done / max(self.printed - self.started, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        kinds = ", ".join(f"{self.kinds[kind]} {kind}" for kind in ("accepted", "rejected", "failed"))
        line = f"{self.done}/{self.total} clips, {rate:.2f} clips/s, {left:.0f} s left: {kinds}"
        terminal = self.stream.isatty()
        end = "\n" if not terminal or self.done == self.total else ""
        print(f"\r\x1b[K{line}" if terminal else line, end=end, file=self.stream, flush=True)
