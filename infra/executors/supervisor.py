"""SIGTERM and Ctrl-C of a long job: the running step ends, a state is saved, and the process says so.

    def main() -> int:
        return supervised(lambda: train_stage(config))

The job runs in a session of its own. Schedulers, `timeout` and terminals signal a whole process group, and
Ray's own processes would die of that before any worker has saved; here the group holds nothing but a
supervisor, which passes the signal on to the driver. Ray puts its own handlers in place of others for SIGTERM
and SIGINT, so what is passed on are two signals that it leaves alone.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

PASSED_ON = {signal.SIGTERM: signal.SIGUSR1, signal.SIGHUP: signal.SIGUSR1, signal.SIGINT: signal.SIGUSR2}
MEANS = {**{kind: kind for kind in PASSED_ON}, signal.SIGUSR1: signal.SIGTERM, signal.SIGUSR2: signal.SIGINT}
PR_SET_PDEATHSIG = 1


class Interrupted(KeyboardInterrupt):
    """A signal asked the job to end, and it has; `told` is what the user is to know."""

    def __init__(self, kind: signal.Signals, told: str) -> None:
        super().__init__(told)
        self.kind, self.told = kind, told

    @property
    def status(self) -> int:
        """Exit status: 0 after SIGTERM, which schedulers send; 130 after Ctrl-C, as shells have it."""
        return 130 if self.kind == signal.SIGINT else 0


def supervised(work: Callable[[], int]) -> int:
    """Call `work` in a process of its own session, to which signals are passed on; its exit status.

    A second Ctrl-C ends it at once. It ends with this process, whatever ends that.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor = os.getpid()
    child = os.fork()
    if child:
        return _watch(child)
    os.setsid()
    _die_with(supervisor)
    for kind in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(kind, _end_now)
    try:
        return work()
    except Interrupted as interruption:
        print(interruption.told, flush=True)
        return interruption.status


@contextlib.contextmanager
def stopping(stop: Path) -> Iterator[None]:
    """While the block runs, a signal does no more than write its name to `stop`, which training looks for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        ask_to_stop(stop, MEANS[signal.Signals(number)])

    before = {kind: signal.signal(kind, ask) for kind in MEANS if signal.getsignal(kind) != signal.SIG_IGN}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def ask_to_stop(stop: Path, kind: signal.Signals) -> None:
    """Ask training to end after the running step; the first signal counts."""
    if not stop.exists():
        stop.write_text(kind.name, encoding="utf-8")
        print(f"{kind.name}: ending after the running step", flush=True)


def raise_if_stopped(stop: Path, told: str) -> None:
    """Raises Interrupted if training was asked to end and did."""
    if stop.exists():
        kind = signal.SIGINT if stop.read_text(encoding="utf-8") == signal.SIGINT.name else signal.SIGTERM
        raise Interrupted(kind, told)


def _end_now(number: int, frame: FrameType | None) -> None:
    """What a signal does where there is no step to finish."""
    del frame
    kind = MEANS[signal.Signals(number)]
    for passed_on in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(passed_on, signal.SIG_IGN)  # what is under way ends in peace
    raise Interrupted(kind, f"{kind.name}: ended; the same command goes on")


def _watch(child: int) -> int:
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        with contextlib.suppress(ProcessLookupError):
            if received.count(signal.SIGINT) > 1:
                os.killpg(child, signal.SIGKILL)
            else:
                os.kill(child, PASSED_ON[signal.Signals(number)])

    for kind in PASSED_ON:
        if signal.getsignal(kind) != signal.SIG_IGN:  # as under nohup
            signal.signal(kind, pass_on)
    _, state = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(state)
    if status >= 0:
        return status
    if received.count(signal.SIGINT) > 1:
        print("interrupted; the same command goes on from the last state", file=sys.stderr)
        return 130
    name = signal.Signals(-status).name
    print(
        f"error: the process that does the work was ended by {name}; the same command goes on from there",
        file=sys.stderr,
    )
    return 128 - status


def _die_with(parent: int) -> None:
    """This process is killed when `parent` ends; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
