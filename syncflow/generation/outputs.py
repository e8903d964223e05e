"""The files of a clip: mp4 (or wav), PNG strip; and the folder's manifest."""

import csv
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncflow.files import replacing, write_whole
from syncflow.generation.figure import write_strip
from syncflow.generation.sidecar import Clip
from syncflow.media import write_clip
from syncflow.records import ClipSpec


@dataclass(frozen=True, kw_only=True)
class ManifestLine:
    clip: Clip
    file: str
    failure: str  # why there is no such file; empty when there is
    note: str = ""  # what of its video was not used; said, and not kept in the table


def write_files(
    path: Path,
    *,
    frames: np.ndarray | None,
    audio: np.ndarray | None,
    spec: ClipSpec,
    title: str,
    strip: bool,
    wav: bool,
) -> None:
    """Write a clip's file, and its strip and its wav beside it.

    `frames` uint8 `f h w c`, `audio` float32 `m`: without audio the mp4 is silent, without video
    the file is a 16-bit wav.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if frames is None:
        assert audio is not None, "a clip has audio or video"
        _write_wav(path, audio, sample_rate=spec.sample_rate)
        return
    track = np.zeros(spec.num_samples, dtype=np.float32) if audio is None else np.clip(audio, -1, 1)
    if wav and audio is not None:
        _write_wav(path.with_suffix(".wav"), audio, sample_rate=spec.sample_rate)
    write_clip(path, frames=frames, audio=track, fps=spec.fps, sample_rate=spec.sample_rate)
    if strip:
        target = path.with_suffix(".png")
        write_strip(
            target, frames=frames, audio=track, fps=spec.fps, sample_rate=spec.sample_rate, title=title
        )


def write_manifest(path: Path, lines: Sequence[ManifestLine], *, seed: int) -> None:
    """manifest.csv, one line a clip that was asked for, whole or not at all."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "row", "copy", "seed", "prompt", "video", "failure", "id"))
    for line in lines:
        clip = line.clip
        made = (line.file, clip.row, clip.copy_number, seed, clip.prompt, clip.video)
        writer.writerow((*made, line.failure, clip.evaluation_id))
    write_whole(path, table.getvalue())


def _write_wav(path: Path, audio: np.ndarray, *, sample_rate: int) -> None:
    with replacing(path) as temporary, wave.open(str(temporary), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(sample_rate)
        stream.writeframes((np.clip(audio, -1, 1) * 32767).round().astype("<i2").tobytes())
