import resource
import subprocess
import sys

import pytest

from syncflow.training.memory import keep_freed_memory

ROUNDS = 20
BLOCKS, SIZE = 6, 8 << 20
FAULTS = f"""
import resource, sys
from syncflow.training.memory import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else False
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range({ROUNDS}):
    if number == {ROUNDS} // 2:
        before = faults()
    step = [bytearray({SIZE}) for _ in range({BLOCKS})]
    del step
print(int(kept), faults() - before)
"""


def faults(what: str) -> tuple[bool, int]:
    """Whether memory was kept, and page faults of the later half of rounds that take and free the same."""
    run = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True)
    kept, count = run.stdout.split()
    return bool(int(kept)), int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_what_a_step_freed_serves_the_next_without_page_faults():
    kept, count = faults("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    of_a_round = BLOCKS * SIZE // resource.getpagesize()
    assert count < of_a_round // 10
    assert faults("leave")[1] > of_a_round  # so it is not for nothing


def test_another_system_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
