"""How the benchmarks take their times: rivals in turns, medians compared."""

import statistics
import time
from collections.abc import Callable

import torch

Work = Callable[[], object]


def medians(rivals: dict[str, Work], *, repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each, the rivals taking turns; one round before is not counted.

    On one CPU thread it is the process's own time, so that a busy machine does not decide.
    """
    one_thread = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if one_thread else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(repeats + 1):
        for name, work in rivals.items():
            _wait(device)
            start = clock()
            work()
            _wait(device)
            if turn:
                seconds[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
