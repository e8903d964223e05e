"""What a command prints: a reader that has gone (`| head`) ends it without a word, an odd name does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from syncflow.command_ending import run
from syncflow.errors import UserError

def progress():
    for step in range(100_000):
        print(f"step {step}", flush=True)

def result():
    print("one line that waits in the buffer")

def refusal():
    print("one line that waits in the buffer")
    raise UserError("data x: not there")

def other_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    os.write(writing, b"x")

def odd_name():
    print("/data/film_\\udcff: 2 clips")

run(globals()[sys.argv[1]])
"""


def called(*command: str, closed: bool = True, both: bool = False) -> tuple[int, str]:
    """Exit status and what it says on stderr, where the reader of stdout (of `both`) has gone."""
    reading, writing = os.pipe()
    if closed:
        os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, *command],
            stdout=writing,
            stderr=writing if both else subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
        if not closed:
            os.close(reading)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("what", ["progress", "result"])
def test_it_ends_quietly(what: str) -> None:
    assert called("-c", PROGRAM, what) == (141, "")


def test_a_refusal_is_still_told() -> None:
    assert called("-c", PROGRAM, "refusal") == (2, "error: data x: not there\n")
    assert called("-c", PROGRAM, "refusal", both=True)[0] == 141


def test_a_pipe_that_is_not_the_output_is_an_error() -> None:
    status, told = called("-c", PROGRAM, "other_pipe", closed=False)
    assert status == 1 and "BrokenPipeError" in told


def test_a_name_that_is_no_utf_8_can_be_printed() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM, "odd_name"], capture_output=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"/data/film_\\udcff: 2 clips\n", b"")


def test_help_and_no_room_for_it(repository: Path) -> None:
    pipeline = str(repository / "pipelines" / "inspect_dataset.py")
    assert called(pipeline, "--help") == (141, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, pipeline, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left on device") and done.stderr.count("\n") == 1
