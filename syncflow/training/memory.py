"""What the C library does with memory that a step has freed."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_ON_THE_HEAP = 32 << 20  # the most that glibc allows
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep memory that is freed for what is allocated next, in this process, from now on; say whether.

    A step on a CPU frees its activations and the next one allocates as much. glibc gives the end of its heap
    back to the system in between and gets it again page by page: a tenth of a small model's step
    (docs/performance.md). The process then stays as large as it has once been. Other C libraries are left
    as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_ON_THE_HEAP) and mallopt(M_TRIM_THRESHOLD, NEVER))
