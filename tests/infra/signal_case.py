"""Training jobs that get signals, each a process that leads its own group.

    python tests/infra/signal_case.py stage preset.yaml

is what `train_stage.py` does, without Ray; `sleep` and `die` stand for jobs that have not begun to train.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from syncflow.command_ending import run

ROOT = Path(__file__).resolve().parents[2]


def _as_in_a_terminal() -> None:
    """A shell's background jobs, and what they start, ignore Ctrl-C; these shall not."""
    for kind in (signal.SIGINT, signal.SIGHUP):
        signal.signal(kind, signal.SIG_DFL)


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_as_in_a_terminal,
    )


def signal_when(
    job: subprocess.Popen[str],
    *,
    shown: str,
    kind: signal.Signals,
    group: bool,
    pick: Callable[[int], int] | None = None,
) -> str:
    """Send a signal once `shown` has been printed; all that is printed until the end.

    Args:
        group: to all of the job's process group.
        pick: chooses another process, given the job's.
    """
    assert job.stdout is not None
    printed = ""
    for line in job.stdout:
        printed += line
        if shown in line:
            break
    time.sleep(0.3)
    (os.killpg if group else os.kill)(pick(job.pid) if pick else job.pid, kind)
    printed += job.communicate(timeout=600)[0]
    return printed


def main() -> int:
    from infra.executors.supervisor import supervised

    kind, place = sys.argv[1], Path(sys.argv[2])

    def work() -> int:
        from syncflow.config import load_config

        if kind == "sleep":
            place.write_text(str(os.getpid()))
            print("asleep", flush=True)
            time.sleep(600)
        elif kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            from infra.launch.stage import train_stage
            from syncflow.training.stage.config import TrainConfig

            train_stage(load_config(TrainConfig, place), in_this_process=True)
        return 0

    return supervised(work)


if __name__ == "__main__":
    run(main)
