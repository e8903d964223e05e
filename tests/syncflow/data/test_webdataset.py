"""The WebDataset export holds every window, bit for bit, once, and is the same file every time."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from syncflow.data.index import WindowIndex
from syncflow.data.random_dataset import write_dataset
from syncflow.data.store import MomentReader, TokenReader
from syncflow.data.webdataset import export_webdataset
from syncflow.errors import UserError


def samples(paths: list[Path]) -> dict[str, dict[str, bytes]]:
    """Files by key and extension, as WebDataset groups them: neighbours with one name up to the first dot."""
    found: dict[str, dict[str, bytes]] = {}
    for path in paths:
        last = ""
        with tarfile.open(path) as tar:
            for entry in tar:
                key, _, kind = entry.name.partition(".")
                assert key == last or key not in found, "files of a window are apart"
                stream = tar.extractfile(entry)
                assert stream is not None
                found.setdefault(key, {})[kind] = stream.read()
                last = key
    return found


def test_every_window_is_in_it_once_bit_for_bit_and_the_bytes_repeat(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "latents", clips=7, per_shard=3)
    windows = WindowIndex(dataset)
    paths = export_webdataset(dataset, tmp_path / "tar", per_shard=4)
    assert {path.name.rpartition("-")[0] for path in paths} == set(windows.split_names)
    found = samples(paths)
    assert len(found) == len(windows) == 7
    moments, tokens = MomentReader(), TokenReader()
    for row, entry in enumerate(windows):
        files = found[f"{row:08d}"]
        about = json.loads(files["json"])
        assert (about["clip_id"], about["caption"], about["split"]) == (
            entry.clip_id,
            entry.caption,
            entry.split,
        )
        for name, tensor in moments(entry.place.group)[0].items():
            kept = np.load(io.BytesIO(files[f"{name}.npy"]))
            assert kept.dtype == np.float16 and np.array_equal(kept, tensor[entry.place.offset].numpy())
        text = windows.text_place(row)
        assert np.array_equal(np.load(io.BytesIO(files["text.npy"])), tokens(text.group)[0][text.offset])
    again = export_webdataset(dataset, tmp_path / "again", per_shard=4)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    with pytest.raises(UserError, match="holds tar files already"):
        export_webdataset(dataset, tmp_path / "tar")
