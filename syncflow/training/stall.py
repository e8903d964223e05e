"""A worker that makes no step for long ends, and leaves the stack of its threads.

    <stage>/stalled/worker_0.txt

Where one worker hangs (storage that does not answer, a driver fault) all others wait for it in the next
collective operation, for as long as that allows; each then shows where it stood.
"""

import faulthandler
import os
import threading
from pathlib import Path
from typing import IO, Self

from syncflow.training.distributed import rank
from syncflow.training.loop import Callback

GRACE_S = 20.0  # from the stack to the end: the other workers are to show theirs, too
EXIT_STATUS = 70


class StallWatch(Callback):
    """Ends the process when `minutes` go by without a step; steps that take longer on purpose need more.

    It watches as a callback inside of its `with` block. The stack is written by a thread of the interpreter's
    own, also where a library holds the interpreter.

    Args:
        folder: of the stacks.
        minutes: between two steps, and before the first one; 0: for ever.
        grace_s: seconds from the stack to the end.
    """

    def __init__(self, folder: Path, *, minutes: float, grace_s: float = GRACE_S) -> None:
        self.path, self.seconds, self.grace_s = folder / f"worker_{rank()}.txt", 60 * minutes, grace_s
        self._file: IO[str] | None = None
        self._timer: threading.Timer | None = None

    def on_start(self, *, start_step: int, steps: int) -> None:
        del start_step, steps
        if not self.seconds:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8")
        self._wind_up()

    def on_step(self, step: int) -> None:
        del step
        if self._file is not None:
            self._wind_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """The watch is over, however training ended."""
        if self._file is None:
            return
        faulthandler.cancel_dump_traceback_later()
        if self._timer is not None:
            self._timer.cancel()
        self._file.close()
        self._file = None
        self.path.unlink(missing_ok=True)

    def _wind_up(self) -> None:
        assert self._file is not None
        faulthandler.dump_traceback_later(self.seconds, file=self._file)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self.seconds + self.grace_s, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        told = f"no step for {self.seconds / 60:g} minutes: worker {rank()} ends; where it stood is in"
        print(f"{told} {self.path}", flush=True)
        os._exit(EXIT_STATUS)
