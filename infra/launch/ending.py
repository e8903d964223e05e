"""How a training ends: in its run's status, and in a line that says whether the same command goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.executors.supervisor import raise_if_stopped
from infra.tracking.runs import close_run, opened_by
from syncflow.training.resume import saved_steps


@contextmanager
def told_how_it_ends(
    folder: Path, *, steps: int, attempt: str, artifacts: Path | None = None, samples: Path | None = None
) -> Iterator[Path]:
    """Gives the file that asks the workers to stop; after the training the run that they opened is closed.

    Args:
        folder: of the training: its `engine/`, `checkpoint/` and the note of its run.
        steps: of the whole training.
        attempt: names this call in the run's note.
        artifacts: a folder whose small files the run takes; None: `checkpoint/`.
        samples: a folder that the run takes beside them.

    Raises:
        Interrupted: a signal asked to end before the last step; the workers did, with a state.
    """
    stop, status = folder / "stop", "FAILED"
    stop.unlink(missing_ok=True)
    try:
        yield stop
        # by its states: Ray ends workers with a SIGTERM, which may write a stop file after the last step
        status = "FINISHED" if is_done(folder, steps) else "KILLED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run = opened_by(attempt, folder)
        close_run(run, status=status, artifacts=artifacts or folder / "checkpoint", samples=samples)
    if not is_done(folder, steps):
        last = saved_steps(folder / "engine")[0]
        raise_if_stopped(stop, f"stopped; the same command goes on from {last}")


def is_done(folder: Path, steps: int) -> bool:
    """Whether the last state is that of the last step."""
    states = saved_steps(folder / "engine")
    return bool(states) and states[0].name == f"step_{steps:08}"
