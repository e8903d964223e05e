"""Work that is done item by item, in this process or in many: codes, decoded windows, clips, features.

A job plans what its output lacks as a list of items. A worker is built once per process and holds the models;
called with an item, it writes what it makes, whole or not at all, and returns what became of it. So a job
that was cut goes on with what is still missing, and whoever runs the workers needs to know nothing of it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Execute(Protocol):
    """Runs workers over items (`run_in_loop` here, `RayPool` in `infra`)."""

    def __call__(
        self, make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
    ) -> Iterable[Result]:
        """What became of each item, as it comes, in any order.

        Args:
            make_worker: builds a worker; for other processes it pickles, as items and results do.
            items: what is to be done.

        Raises:
            UserError: what a worker raised as such, when it was built or called.
        """
        ...


def run_in_loop(
    make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
) -> Iterator[Result]:
    """One worker in this process, one item after the other (an `Execute`)."""
    worker = make_worker()
    for item in items:
        yield worker(item)
