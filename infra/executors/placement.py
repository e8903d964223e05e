"""Where Ray Data keeps a worker that has loaded models: in an actor beside a GPU, else between tasks.

Ray ends a process after a task that had a GPU, so models there live in actors. On CPUs it hands a job's
tasks to the processes that ran the ones before, the first of which begin with Ray itself: a worker kept in
such a process needs no process of its own, which would import everything once more.
"""

import uuid
from collections.abc import Callable
from typing import Any

Worker = Callable[[Any], Any]
MakeWorker = Callable[..., Worker]

_kept: dict[str, Worker] = {}  # at most one: of the last call of `in_tasks` whose tasks this process ran


def in_actors(make: MakeWorker, *arguments: Any, first: int, most: int) -> dict[str, Any]:
    """What `Dataset.map` and `map_batches` are given for actors, each of which makes a worker once.

    Args:
        make: a class of workers.
        arguments: of its constructor.
        first: actors to begin with.
        most: actors at most, as the cluster grows.
    """
    from ray.data import ActorPoolStrategy

    pool = ActorPoolStrategy(min_size=1, max_size=most, initial_size=min(first, most))
    return {"fn": make, "fn_constructor_args": arguments, "compute": pool}


def in_tasks(make: MakeWorker, *arguments: Any, most: int | None) -> dict[str, Any]:
    """The same for tasks, `most` at a time (None: as many as the cluster has room for)."""
    from ray.data import TaskPoolStrategy

    owner = uuid.uuid4().hex  # what a file held in another call may have changed since
    return {"fn": run_kept, "fn_args": (owner, make, arguments), "compute": TaskPoolStrategy(most)}


def run_kept(item: Any, owner: str, make: MakeWorker, arguments: tuple[Any, ...]) -> Any:
    """What the worker makes of an item; it is made at the first item of an owner in this process.

    Args:
        owner: stands for one call of `in_tasks`, all of whose tasks may share a worker.
        make: a class of workers.
        arguments: of its constructor.
    """
    if owner not in _kept:
        _kept.clear()  # before another loads its models
        _kept[owner] = make(*arguments)
    return _kept[owner](item)
