"""Signals of Ray Train's workers, and workers that outlive their killed driver."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.executors.ray_train import Call, _heed_signals, _worker
from syncflow.errors import UserError

KINDS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {kind: signal.getsignal(kind) for kind in KINDS}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


def calls(tmp_path: Path) -> tuple[Call, Call]:
    """A call whose driver was killed, and the next one in the same folder."""
    earlier, later = Call(tmp_path / "ray"), Call(tmp_path / "ray")
    for call in (earlier, later):
        call.begin()
    return earlier, later


def run(call: Call, function: Callable[[None], None]) -> None:
    _worker({"function": function, "config": None, "call": call})


def test_its_refusal_does_not_end_the_next_call(tmp_path: Path) -> None:
    earlier, later = calls(tmp_path)

    def loses_the_lock(_: None) -> None:
        raise UserError("writer.lock: this job no longer holds the folder")

    with pytest.raises(UserError):
        run(earlier, loses_the_lock)
    done: list[bool] = []
    run(later, lambda _: done.append(not later.error.exists()))
    assert done == [True]


def test_its_signal_does_not_stop_the_next_call(tmp_path: Path, handlers: None) -> None:
    earlier, later = calls(tmp_path)
    stop = tmp_path / "stop"

    def ended_by_ray(_: None) -> None:
        for kind in KINDS:
            signal.raise_signal(kind)

    _heed_signals(stop, earlier)
    run(earlier, ended_by_ray)
    assert not stop.exists()
    _heed_signals(stop, later)
    run(later, ended_by_ray)
    assert stop.read_text() == "SIGTERM"


def test_ctrl_c_reaches_a_worker_though_ray_starts_it_with_that_signal_blocked(
    tmp_path: Path, handlers: None
) -> None:
    call, stop = Call(tmp_path / "ray"), tmp_path / "stop"
    call.begin()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as `ray._private.services` does
    try:
        _heed_signals(stop, call)
        run(call, lambda _: os.kill(os.getpid(), signal.SIGINT))
        assert stop.exists() and stop.read_text() == "SIGINT"
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that still waits ends no test
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def test_the_signal_by_which_ray_ends_a_worker_that_is_done_says_nothing(
    tmp_path: Path, handlers: None, capfd: pytest.CaptureFixture[str]
) -> None:
    call, stop = Call(tmp_path / "ray"), tmp_path / "stop"
    call.begin()
    _heed_signals(stop, call)
    run(call, lambda _: None)
    signal.raise_signal(signal.SIGTERM)
    assert not stop.exists() and capfd.readouterr().out == ""
