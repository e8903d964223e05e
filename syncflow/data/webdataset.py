"""A dataset's windows as WebDataset shards: tar files that other trainers stream.

train-000000.tar    00000017.json            dataset, clip_id, window, caption, split, scores
                    00000017.video_mean.npy  float16; so are video_logvar, audio_mean, audio_logvar
                    00000017.text.npy        float16 `l e`, the caption's embedding
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from syncflow.data.index import WindowIndex
from syncflow.data.store import Group, MomentReader, TokenReader
from syncflow.errors import UserError
from syncflow.files import whole_file

PER_SHARD = 1024  # windows
T = TypeVar("T")


def export_webdataset(dataset: Path, output: Path, *, per_shard: int = PER_SHARD) -> list[Path]:
    """Write the windows of each split to tar files of `per_shard`; the files, in their order.

    The same dataset gives the same bytes. A window's key is its number in the dataset's index, which is
    sorted by dataset, clip and window.

    Args:
        dataset: folder that precompute_latents.py wrote.
        output: folder for the tar files.
        per_shard: windows per file.

    Raises:
        UserError: no finished dataset, a damaged shard, a folder that has tar files already, or a full disk.
    """
    windows = WindowIndex(dataset)
    if output.is_dir() and any(output.glob("*.tar")):
        raise UserError(f"webdataset {output}: holds tar files already; give an empty folder")
    moments, tokens = _LastGroup(MomentReader()), _LastGroup(TokenReader())
    written = []
    for code, split in enumerate(windows.split_names):
        rows = np.flatnonzero(windows.splits == code).tolist()
        for number, first in enumerate(range(0, len(rows), per_shard)):
            path, chosen = output / f"{split}-{number:06d}.tar", rows[first : first + per_shard]
            with whole_file(path) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
                for row in chosen:
                    for name, content in _files(windows, row, moments, tokens):
                        entry = tarfile.TarInfo(f"{row:08d}.{name}")  # time 0, no owner
                        entry.size = len(content)
                        tar.addfile(entry, io.BytesIO(content))
            written.append(path)
    return written


class _LastGroup(Generic[T]):
    """The row group that was read last: rows of a shard follow each other."""

    def __init__(self, read: Callable[[Group], tuple[T, int]]) -> None:
        self._read = read
        self._last: tuple[Group, T] | None = None

    def __call__(self, group: Group) -> T:
        if self._last is None or self._last[0] != group:
            self._last = group, self._read(group)[0]
        return self._last[1]


def _files(
    windows: WindowIndex,
    row: int,
    moments: _LastGroup[dict[str, Tensor]],
    tokens: _LastGroup[list[np.ndarray]],
) -> Iterator[tuple[str, bytes]]:
    entry, text = windows[row], windows.text_place(row)
    about = {
        "dataset": entry.dataset,
        "clip_id": entry.clip_id,
        "window": entry.window,
        "split": entry.split,
        "caption": entry.caption,
        "caption_source": entry.caption_source,
        "scores": entry.scores,
    }
    yield "json", json.dumps(about, sort_keys=True).encode()
    for name, tensor in moments(entry.place.group).items():
        yield f"{name}.npy", _npy(tensor[entry.place.offset].numpy())
    yield "text.npy", _npy(tokens(text.group)[text.offset])


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
