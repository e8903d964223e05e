"""Run ffmpeg as a child that cannot hang, grow or print without bound.

No shell, no terminal, its own process group (killed whole at the time limit), memory and processor
limits set by the kernel, and at most so many bytes read from each of its pipes.
"""

import contextlib
import importlib.metadata
import os
import re
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from syncflow.media.errors import MediaError

_STDERR_BYTES = 1 << 20
DECODING_RULES = 2  # raised when this package makes other windows of the same file (docs/decoding.md)


@cache
def ffmpeg_binary() -> str:
    """Path of the ffmpeg that imageio-ffmpeg ships (or that IMAGEIO_FFMPEG_EXE names)."""
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


@cache
def decoder_version(backend: str) -> str:
    """What decodes, as `rules 2, ffmpeg 7.0.2-static`, with decord's version too for its backend.

    The same file gives other last bits, and for damaged ones other frames, from one version to the next.
    """
    told = subprocess.run([ffmpeg_binary(), "-version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"ffmpeg version (\S+)", told)
    names = [f"rules {DECODING_RULES}", f"ffmpeg {found[1] if found else 'unknown'}"]
    if backend == "decord":
        names.append(f"decord {importlib.metadata.version('decord')}")
    return ", ".join(names)


FILE = "<file>"  # stands for the path in a command being built: ffmpeg-python takes no name that is no UTF-8


def arguments(output: Any, path: Path) -> list[str]:
    """ffmpeg's arguments for an output built by ffmpeg-python, in which `FILE` is `path`."""
    import ffmpeg

    return [str(path) if argument == FILE else argument for argument in ffmpeg.get_args(output)]


@dataclass(frozen=True, kw_only=True)
class Finished:
    returncode: int
    outputs: tuple[bytearray, ...]  # standard output, then one an extra pipe
    messages: str  # the first part of standard error


class _Reader(threading.Thread):
    """Drains one pipe, keeps its first `limit` bytes, and says whether there were more."""

    def __init__(self, stream: IO[bytes], *, limit: int) -> None:
        super().__init__(daemon=True)
        self.stream, self.limit = stream, limit
        self.kept = bytearray()
        self.overflowed = False
        self.start()

    def run(self) -> None:
        with self.stream, contextlib.suppress(ValueError):
            while block := self.stream.read(1 << 16):
                room = self.limit - len(self.kept)
                self.kept += block[:room]
                self.overflowed |= len(block) > room


def _feed(stream: IO[bytes], data: memoryview) -> None:
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(data)


def limit_child(pid: int, *, memory_bytes: int, cpu_s: float) -> None:
    """Kernel limits of another process of ours (Linux; elsewhere the time limit alone holds)."""
    prlimit = getattr(resource, "prlimit", None)
    if prlimit is None:
        return
    with contextlib.suppress(ProcessLookupError):
        seconds = max(1, int(cpu_s))
        prlimit(pid, resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds + 1))
        prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def kill_group(pid: int) -> None:
    """Kill a child that leads its own process group, and everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def run_command(
    command: Sequence[str],
    *,
    timeout_s: float,
    memory_bytes: int,
    output_bytes: Sequence[int] = (0,),
    extra_write_fds: Sequence[int] = (),
    extra_read_fds: Sequence[int] = (),
    stdin: memoryview | None = None,
    message_bytes: int = _STDERR_BYTES,
) -> Finished:
    """Run `command` to its end.

    Args:
        command: program and arguments; never passed through a shell.
        timeout_s: wall-clock limit; also the processor limit, times four for threads.
        memory_bytes: address-space limit of the child.
        output_bytes: the most to accept from standard output, then from each extra pipe.
        extra_write_fds: ends of `os.pipe()` that the child writes to, by the same numbers.
        extra_read_fds: our ends of the same pipes.
        stdin: bytes to feed, if any.
        message_bytes: how much of standard error to keep.

    Raises:
        MediaError: timeout, too_large (more output than accepted), out_of_memory.
    """
    assert len(output_bytes) == 1 + len(extra_read_fds) == 1 + len(extra_write_fds)
    deadline = time.monotonic() + timeout_s
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(extra_write_fds),
            start_new_session=True,
        )
    finally:
        for fd in extra_write_fds:
            os.close(fd)
    limit_child(child.pid, memory_bytes=memory_bytes, cpu_s=4 * timeout_s)
    assert child.stdout is not None and child.stderr is not None
    streams = [child.stdout, *(os.fdopen(fd, "rb") for fd in extra_read_fds)]
    readers = [_Reader(s, limit=n) for s, n in zip(streams, output_bytes, strict=True)]
    errors = _Reader(child.stderr, limit=message_bytes)
    if stdin is not None:
        assert child.stdin is not None
        threading.Thread(target=_feed, args=(child.stdin, stdin), daemon=True).start()
    try:
        for reader in (*readers, errors):  # they end with the child, for which `wait` would poll
            reader.join(timeout=max(0.0, deadline - time.monotonic()))
        child.wait(timeout=max(0.0, deadline - time.monotonic()))
    except BaseException as error:
        kill_group(child.pid)
        child.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise MediaError("timeout", f"stopped after {timeout_s:g} s") from None
        raise
    finally:
        for reader in (*readers, errors):
            reader.join(timeout=5.0)
    messages = bytes(errors.kept).decode("utf-8", errors="replace")
    if child.returncode in (-signal.SIGXCPU,):
        raise MediaError("timeout", "stopped at the processor limit")
    if child.returncode and ("Cannot allocate memory" in messages or "pthread_create" in messages):
        raise MediaError("out_of_memory", f"needs over {memory_bytes >> 20} MiB")
    if any(reader.overflowed for reader in readers):
        raise MediaError("too_large", f"more output than the {max(output_bytes)} bytes accepted")
    return Finished(
        returncode=child.returncode,
        outputs=tuple(reader.kept for reader in readers),
        messages=messages,
    )


def last_line(messages: str) -> str:
    """The last line of ffmpeg's messages that says what is wrong, for a person."""
    said = [line for line in messages.split("\n") if "[warning]" not in line]
    lines = [re.sub(r"^(\[[^]]*\] )+", "", line.strip()) for line in said]
    telling = [line for line in lines if line and not line.startswith(("Error opening", "Last message"))]
    return (telling or lines or ["no message"])[-1][:300]
