"""Decode the files of a folder into a window store: planned here, run in a loop or by Ray Data.

A group of files becomes a shard. A group that is done is not decoded again, so a job that was killed goes on;
a file that cannot be decoded is a row with its reason.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from syncflow.data.windows.store import (
    MANIFEST,
    FileRow,
    Kind,
    WindowStore,
    row_values,
    shard_rows,
    window_bytes,
    window_layout,
    write_manifest,
)
from syncflow.errors import UserError
from syncflow.files import replacing, write_whole
from syncflow.hashing import settings_sha256
from syncflow.jobs import Execute, run_in_loop
from syncflow.media import MediaError, decode_audio, decode_frames, probe
from syncflow.media.suffixes import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from syncflow.places import not_a_folder
from syncflow.records import ClipSpec

FILES_PER_SHARD = 16


@dataclass(frozen=True, kw_only=True)
class Windows:
    """What is decoded: the first `per_clip` windows of each file of `folder`, however deep, or of a list."""

    folder: Path
    kind: Kind
    spec: ClipSpec
    per_clip: int
    cache: Path

    @property
    def store(self) -> Path:
        """Folder of the store: its name is a hash of what is decoded."""
        spec = self.spec.model_dump()
        unused = ("height", "width", "fps") if self.kind == "audio" else ("sample_rate",)
        kept = {name: value for name, value in spec.items() if name not in unused}
        key = settings_sha256([str(self.folder.resolve()), self.kind, kept, self.per_clip])
        return self.cache / key[:16]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The files of one shard."""

    name: str
    files: tuple[str, ...]  # below the folder


def decoded_windows(windows: Windows, *, execute: Execute = run_in_loop) -> WindowStore:
    """The store of these windows, decoding what it lacks.

    Raises:
        UserError: no such folder, too little room on the disk, or no file that gives a window.
    """
    folder, store = windows.folder, windows.store
    groups = plan_groups(windows)
    size = window_bytes(windows.kind, windows.spec)
    todo = [group for group in groups if shard_rows(store, group.name, size=size) is None]
    if todo:
        store.mkdir(parents=True, exist_ok=True)
        (store / MANIFEST).unlink(missing_ok=True)  # until it is true again
        _check_room(store, size * windows.per_clip * sum(len(group.files) for group in todo))
        _run(windows, todo, execute)
    done = [(group.name, shard_rows(store, group.name, size=size) or []) for group in groups]
    if todo or not (store / MANIFEST).is_file():
        store.mkdir(parents=True, exist_ok=True)
        write_manifest(store, done, kind=windows.kind)
    found = WindowStore(store, kind=windows.kind, spec=windows.spec)
    told = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
    if not len(found):
        what = "audio" if windows.kind == "audio" else "video"
        raise UserError(
            f"clips {folder}: none of {found.files} files gives {windows.spec.seconds:g} s of {what}"
            + (f" ({told})" if told else "")
        )
    if todo:
        left_out = f"; left out: {told} (reasons in {store}/*.json)" if told else ""
        print(f"{folder}: {len(found)} windows of {found.files} files{left_out}", flush=True)
    return found


def plan_groups(windows: Windows) -> list[Group]:
    """Files in the order of their names, in groups; a group's name changes with its files' sizes and times.

    Raises:
        UserError: no such folder, or a list of files that cannot be read.
    """
    folder = windows.folder
    check_clips(folder, setting="clips")
    if folder.is_file():
        states = [(str(path), _state(path)) for path in listed_files(folder)]
    else:
        suffixes = VIDEO_SUFFIXES | AUDIO_SUFFIXES if windows.kind == "audio" else VIDEO_SUFFIXES
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
        states = [(str(path.relative_to(folder)), _state(path)) for path in paths]
    chunks = (states[first : first + FILES_PER_SHARD] for first in range(0, len(states), FILES_PER_SHARD))
    return [
        Group(name=settings_sha256(chunk)[:16], files=tuple(file for file, _ in chunk)) for chunk in chunks
    ]


def check_clips(folder: Path, *, setting: str) -> None:
    """Raises UserError where `folder` is neither a folder nor a list of files."""
    if not folder.is_dir() and not (folder.is_file() and folder.suffix == ".txt"):
        raise UserError(
            f"{setting} {folder}: {not_a_folder(folder)}, and no list of files (.txt); "
            "make_demo_clips.py makes a folder, list_clips.py a list"
        )


def listed_files(path: Path) -> list[Path]:
    """The files that a list names, a line each; relative ones lie under the list's own folder.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"clips {path}: cannot be read ({error}); write the list again") from None
    return sorted({(path.parent / line).absolute() for line in lines if line.strip()})


def _decoder(windows: Windows) -> Callable[[Group], list[FileRow]]:
    """A worker; it holds no model."""
    return partial(decode_group, windows=windows)


def decode_group(group: Group, windows: Windows) -> list[FileRow]:
    """Decode the files of a group and write its shard; the rows of its files.

    Raises:
        UserError: the disk takes no more.
    """
    target = windows.store / f"{group.name}.bin"
    dtype, shape = window_layout(windows.kind, windows.spec)
    rows = []
    try:
        with replacing(target) as temporary, temporary.open("wb") as stream:
            for file in group.files:
                try:
                    found = list(_decode(windows.folder / file, windows))  # a listed file is absolute
                except MediaError as error:
                    rows.append(FileRow(file=file, windows=0, reason=error.reason, detail=str(error)[:300]))
                    continue
                for window in found:
                    assert window.shape == shape, (window.shape, shape)
                    stream.write(np.ascontiguousarray(window, dtype=dtype).data)
                rows.append(FileRow(file=file, windows=len(found)))
        write_whole(target.with_suffix(".json"), json.dumps(row_values(rows), indent=1))
    except OSError as error:
        raise UserError(f"{windows.store}: cannot write decoded windows ({error}); make room") from None
    return rows


def _decode(path: Path, windows: Windows) -> Iterator[np.ndarray]:
    spec, info = windows.spec, probe(path)
    if windows.kind == "audio":
        if not info.has_audio:
            raise MediaError("no_audio", f"{path}: no audio stream")
        count = _count(path, info.audio_end_s, windows)
        samples = decode_audio(path, sample_rate=spec.sample_rate, seconds=count * spec.seconds)
        yield from samples[: count * spec.num_samples].reshape(count, spec.num_samples)
        return
    if not info.has_video:
        raise MediaError("no_video", f"{path}: no video stream")
    first = max(0.0, info.video_start_s)
    for number in range(_count(path, info.video_end_s - first, windows)):
        yield decode_frames(path, start_s=first + number * spec.seconds, spec=spec, info=info)


def _count(path: Path, seconds: float, windows: Windows) -> int:
    count = min(windows.per_clip, int(seconds / windows.spec.seconds + 1e-3))
    if count < 1:
        raise MediaError("too_short", f"{path}: {seconds:.3f} s of {windows.spec.seconds:g}")
    return count


def _run(windows: Windows, todo: list[Group], execute: Execute) -> None:
    with Progress() as progress:
        total = sum(len(group.files) for group in todo)
        task = progress.add_task(f"decode {windows.folder.name}", total=total)
        for rows in execute(partial(_decoder, windows), todo):
            progress.advance(task, len(rows))
    for left in (*windows.store.glob(".*.tmp"), *windows.store.glob("*.partial")):  # of jobs that were killed
        left.unlink()


def _check_room(store: Path, needed: int) -> None:
    free = shutil.disk_usage(store).free
    if needed > free:
        raise UserError(
            f"{store}: decoded windows need up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "set fewer windows_per_clip, a smaller clip, or an output on a larger disk"
        )


def _state(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:  # a dangling link: its row will say so
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
