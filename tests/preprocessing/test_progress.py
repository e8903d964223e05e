import io
from types import SimpleNamespace

from preprocessing.progress import RateLine


def test_line_tells_rate_and_time_left() -> None:
    seconds = iter([0.0, 4.0])
    line = RateLine(10, clock=lambda: next(seconds), stream=io.StringIO())
    line.add([SimpleNamespace(kind="accepted"), SimpleNamespace(kind="failed")])  # type: ignore[list-item]
    assert line.line() == "4 s: 2/10 clips, 0.50 clips/s, 16 s left: 1 accepted, 0 rejected, 1 failed"


def test_line_comes_while_nothing_is_done_yet_and_at_the_end() -> None:
    stream = io.StringIO()
    with RateLine(3, every_s=0.01, stream=stream):
        while "0/3 clips" not in stream.getvalue():
            pass
    assert stream.getvalue().count("0/3 clips") >= 2
