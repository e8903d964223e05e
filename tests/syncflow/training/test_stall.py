"""A worker without a step leaves its stack and ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from syncflow.training.stall import EXIT_STATUS, StallWatch

STALLS = """
import sys, time
from pathlib import Path
import pytest

from syncflow.training.stall import StallWatch

def reads_from_storage_that_does_not_answer():
    time.sleep(60)

watch = StallWatch(Path(sys.argv[1]), minutes=0.5 / 60, grace_s=0.5)
watch.on_start(start_step=0, steps=9)
watch.on_step(1)
reads_from_storage_that_does_not_answer()
"""


def test_it_says_where_it_stood(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STALLS, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == EXIT_STATUS
    assert f"worker 0 ends; where it stood is in {tmp_path / 'worker_0.txt'}" in done.stdout
    assert "in reads_from_storage_that_does_not_answer" in (tmp_path / "worker_0.txt").read_text()


def test_a_run_that_ends_leaves_nothing_however_it_ends(tmp_path: Path) -> None:
    for minutes in (0.0, 10.0):
        with pytest.raises(KeyboardInterrupt), StallWatch(tmp_path, minutes=minutes) as watch:
            watch.on_start(start_step=0, steps=1)
            watch.on_step(1)
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir())
