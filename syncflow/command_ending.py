"""How a pipeline's command ends: its exit status, one line for what a person can mend, closed outputs."""

import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, TextIO

from syncflow.errors import UserError, full_disk

CLOSED_OUTPUT = 141  # exit status, as of a process that SIGPIPE ends
EXTRAS = {  # package -> the extra that installs it
    "pyarrow": "data",
    "ray": "data,train",
    "deepspeed": "train",
    "mlflow": "tracking",
    "tensorboard": "tracking",
    "torchmetrics": "evaluate",
    "cv2": "evaluate",
    "gradio": "serve",
    "fastapi": "serve",
    "uvicorn": "serve",
    "peft": "lora",
}


def run(main: Callable[[], int | None]) -> None:
    """Call a pipeline's `main`; a `UserError`, full disk or missing extra is one line and exit status 2.

    Where the reader of the output has gone (`--help | head`), it ends without a word, as by SIGPIPE.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a folder's name may be no UTF-8: that ends no job
            stream.reconfigure(errors="backslashreplace")
    try:
        status: Any = _status_of(main)
    except SystemExit as end:  # of --help
        status = end.code
    except BrokenPipeError:  # or of a socket or of ffmpeg's, which is news
        if not any(map(_lost_its_reader, (sys.stdout, sys.stderr))):
            raise
        status = CLOSED_OUTPUT
    sys.exit(_flush(status))


def _flush(status: Any) -> Any:
    """The exit status, once everything is written or there is nobody to write to."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or CLOSED_OUTPUT
    except OSError as error:
        if not (told := full_disk(error)):
            raise
        print(f"error: {told}", file=sys.stderr)
        status = status or 2
    for stream in (sys.stdout, sys.stderr):  # what Python itself flushes at its end goes nowhere
        if _lost_its_reader(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def _status_of(main: Callable[[], int | None]) -> int:
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not (told := full_disk(error)):
            raise
        print(f"error: {told}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = f"pip install 'syncflow[{EXTRAS[package]}]'"
        print(f"error: this command needs {package}, which is not installed; {extra}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _lost_its_reader(stream: TextIO) -> bool:
    """Whether it is a pipe whose other end is closed."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # no file, or closed
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))
