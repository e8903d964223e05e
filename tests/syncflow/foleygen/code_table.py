"""A dataset of random latents with a table of codes, which follow from the frames and from them alone."""

from pathlib import Path

import numpy as np

from syncflow.data.index import WindowIndex
from syncflow.data.random_dataset import write_dataset
from syncflow.foleygen.table import SHARDS, CodeRow, CodesManifest, write_codes
from syncflow.records import Weights

CODEBOOKS, CODES, FRAMES, WIDTH, SIZE = 2, 20, 8, 4, 6


def code_row(dataset: str, clip: str, window: int) -> CodeRow:
    """Each frame shows one of `SIZE` patterns; codes of its time are the number of the pattern."""
    draw = np.random.default_rng(abs(hash_of(clip)) + window)
    shown = draw.integers(0, SIZE, FRAMES)
    patterns = np.random.default_rng(0).standard_normal((SIZE, WIDTH))
    at = (np.arange(CODES) * FRAMES) // CODES
    codes = np.stack([(shown[at] + k) % SIZE for k in range(CODEBOOKS)])
    return CodeRow(
        key=(dataset, clip, window),
        codes=codes.astype(np.int16),
        features=patterns[shown].astype(np.float16),
    )


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-4:], "big")


def write_table(folder: Path, *, clips: int = 20) -> Path:
    """The dataset in `folder`, and its table in `folder/foleygen`."""
    data = write_dataset(folder, clips=clips)
    index, table = WindowIndex(data), data / "foleygen"
    by_shard: dict[str, dict[int, CodeRow]] = {}
    for number, entry in enumerate(index):
        rows = by_shard.setdefault(index.shard_names[index.shards[number]], {})
        rows[entry.place.row] = code_row(entry.dataset, entry.clip_id, entry.window)
    for shard, rows in by_shard.items():
        ordered = [rows[row] for row in sorted(rows)]
        write_codes(table / SHARDS / shard, ordered, recipe="codes", source="test")
    weights = Weights(sha256="0" * 64, location="somewhere")
    CodesManifest(
        recipe="codes" * 8,
        dataset_recipe=index.manifest.recipe,
        dataset_files_sha256=index.manifest.files_sha256,
        codec=weights,
        visual=weights,
        num_codebooks=CODEBOOKS,
        codebook_size=SIZE,
        code_rate=10.0,
        num_codes=CODES,
        feature_dim=WIDTH,
        feature_rate=4.0,
        num_frames=FRAMES,
        windows=clips,
        without=(),
        config={"visual": {"kind": "clip"}},
    ).write(table)
    return data


SMALL = {
    "model": {"hidden_size": 32, "depth": 2, "num_heads": 2},
    "optimizer": {"lr": 3e-3, "warmup_steps": 10, "decay": "inverse_sqrt"},
    "engine": {"kind": "torch", "bf16": False},
    "tracking_uri": "none",
    "batch_size": 8,
    "workers": 1,
    "ema_decay": 0.9,
    "log_every": 1,
    "checkpoint_every": 4,
    "cache_gb": 0.1,
}
