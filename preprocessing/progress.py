"""One line that says how a job goes: clips done, rate, time left, and what became of them."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TextIO

from syncflow.data.parquet import LedgerRow

KINDS = ("accepted", "rejected", "failed", "missing")


class RateLine:
    """While its block runs, prints every `every_s` seconds; on a terminal it rewrites its line.

    Args:
        total: clips to do.
        every_s: time between two prints, seconds.
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
        self.started = clock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "RateLine":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        print(("\r\x1b[K" if self.stream.isatty() else "") + self.line(), file=self.stream, flush=True)

    def _tick(self) -> None:
        while not self._ended.wait(self.every_s):
            terminal = self.stream.isatty()
            text = f"\r\x1b[K{self.line()}" if terminal else self.line()
            print(text, end="" if terminal else "\n", file=self.stream, flush=True)

    def add(self, rows: Iterable[LedgerRow]) -> None:
        """Count clips that are done."""
        self.kinds.update(row.kind for row in rows)

    @property
    def done(self) -> int:
        return sum(self.kinds.values())

    def line(self) -> str:
        """How it stands: clips done, rate, time left, and what became of the clips."""
        seconds = self.clock() - self.started
        rate = self.done / seconds if seconds else 0.0
        left = f", {(self.total - self.done) / rate:.0f} s left" if rate else ""
        told = [kind for kind in KINDS if self.kinds[kind] or kind != "missing"]
        kinds = ", ".join(f"{self.kinds[kind]} {kind}" for kind in told)
        return f"{seconds:.0f} s: {self.done}/{self.total} clips, {rate:.2f} clips/s{left}: {kinds}"
