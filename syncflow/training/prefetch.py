"""The next batches are made while the current one trains."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

B = TypeVar("B")


def prefetch(batches: Iterable[B], *, depth: int = 2) -> Iterator[B]:
    """`batches`, up to `depth` of them made ahead in a thread; their exceptions are raised here.

    The thread ends with the generator: when it is exhausted, closed or forgotten.
    """
    ready: queue.Queue[tuple[str, B | BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(kind: str, value: B | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put("batch", batch)
                if stopped.is_set():
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            if kind == "end":
                return
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join(timeout=5)
