"""The one exception that means "the user can mend this", and what is said of a disk that is full."""

import errno
import os

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class UserError(ValueError):
    """Wrong input, setting or file: the message is one line that names it, and the remedy.

    The pipelines print it without a traceback and exit with status 2. Anything else that is
    raised is a bug of ours and keeps its traceback.
    """


def full_disk(error: BaseException) -> str:
    """One line for a disk that is full or read-only, however a library reports it; empty for other errors."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # safetensors raises an error of its own, with the number in its text
        number = next((n for n in FULL_DISK if f"(os error {n})" in str(error)), None)
    if number not in FULL_DISK:
        return ""
    place = getattr(error, "filename", None)
    told = f"{place}: {os.strerror(number)}" if place else os.strerror(number)
    return f"{told}; what was saved before is kept: make room, and run the same command again"
