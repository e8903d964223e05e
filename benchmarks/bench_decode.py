"""Time decoding: our windows against `ffmpeg -f null` on the same clips, rivals in turns.

`ffmpeg -f null` decodes picture and sound of the whole file and throws both away: the most that a decoder can
do. Ours also resizes, crops, converts, resamples and brings the windows into this process.
"""

import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from preprocessing.decode import DecodeStep
from preprocessing.decode_config import DecodeConfig, WindowConfig
from preprocessing.sources.media_files import media_files
from preprocessing.sources.passed_over import PassedOver
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.errors import UserError
from syncflow.media import MediaError, decode_windows, probe
from syncflow.media.process import ffmpeg_binary
from syncflow.records import ClipRef, ClipSpec


class BenchConfig(Config):
    """What is timed."""

    clips: Path
    """Folder of clips; those that cannot be decoded are left out."""
    size: int = 256
    """Rows and columns of a frame, pixels."""
    repeats: int = 5
    """Rounds; each times every rival once on every clip. One round before is not counted."""


class Clip:
    """A clip that can be decoded, with its non-overlapping windows."""

    def __init__(self, path: Path, spec: ClipSpec) -> None:
        self.path, info = path, probe(path)
        first, last = info.common_span_s
        count = int((last - first) / spec.seconds)
        self.starts_s = [first + k * spec.seconds for k in range(count)]
        if not info.has_video or not info.has_audio or not count:
            raise MediaError("too_short", f"{path}: no window")
        decode_windows(path, starts_s=self.starts_s[-1:], spec=spec, info=info)
        self.seconds = info.duration_s


def decodable(folder: Path, spec: ClipSpec) -> list[Clip]:
    """The clips of a folder that give windows.

    Raises:
        UserError: there is none.
    """
    found = []
    for _, path in media_files(folder.absolute(), PassedOver()):
        try:
            found.append(Clip(path, spec))
        except MediaError as error:
            print(f"left out {path.name}: {error.reason}")
    if not found:
        raise UserError(f"clips {folder}: none can be decoded; give a folder of clips")
    return found


def rivals(spec: ClipSpec) -> dict[str, Callable[[Clip], object]]:
    """What takes turns, by name."""
    step = DecodeStep(DecodeConfig(), spec, WindowConfig(mode="all"))

    def null(clip: Clip, *threads: str) -> None:
        command = [ffmpeg_binary(), "-v", "error", "-nostdin", *threads, "-i", str(clip.path)]
        subprocess.run([*command, "-map", "0:V:0", "-map", "0:a:0", "-f", "null", "-"], check=True)

    return {
        "ffmpeg -f null, one thread": lambda clip: null(clip, "-threads", "1"),
        "ffmpeg -f null, its own threads": lambda clip: null(clip),
        "all windows of a clip together": lambda clip: decode_windows(
            clip.path, starts_s=clip.starts_s, spec=spec
        ),
        "each window alone": lambda clip: [
            decode_windows(clip.path, starts_s=[start], spec=spec) for start in clip.starts_s
        ],
        "DecodeStep (with scores and hash)": lambda clip: step(
            [ClipRef(dataset="bench", clip_id=clip.path.name, path=clip.path)]
        ),
    }


def measure(clips: list[Clip], spec: ClipSpec, *, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, processor) seconds of each round of each rival, over all clips."""
    seconds: dict[str, list[tuple[float, float]]] = {}
    for turn in range(repeats + 1):
        for name, work in rivals(spec).items():
            wall, used = time.perf_counter(), _processor_s()
            for clip in clips:
                work(clip)
            if turn:
                seconds.setdefault(name, []).append((time.perf_counter() - wall, _processor_s() - used))
    return seconds


def _processor_s() -> float:
    """Processor seconds of this process and its children so far."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


def main() -> None:
    """Print a table: times real time, and the ratio to `-f null`."""
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    spec = ClipSpec(height=config.size, width=config.size)
    clips = decodable(config.clips, spec)
    media_s = sum(clip.seconds for clip in clips)
    seconds = measure(clips, spec, repeats=config.repeats)
    medians = {n: [statistics.median(each) for each in zip(*s, strict=True)] for n, s in seconds.items()}
    null_wall, null_used = medians["ffmpeg -f null, one thread"]
    table = Table("", "x real time", "of -f null, wall", "of -f null, processor")
    for name, (wall, used) in medians.items():
        table.add_row(name, f"{media_s / wall:.1f}", f"{null_wall / wall:.2f}", f"{null_used / used:.2f}")
    Console().print(f"{len(clips)} clips, {media_s:.0f} s; medians of {config.repeats} rounds")
    Console().print(table)


if __name__ == "__main__":
    run(main)
