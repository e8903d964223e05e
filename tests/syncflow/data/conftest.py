"""A finished dataset of random latents, written as a job writes it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.finish import finish_dataset
from syncflow.data.parquet.schema import fingerprint
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.hashing import caption_key
from syncflow.records import ClipRef, ClipSpec, EncodedClip, LatentRow, Split, TextEmbedding, Weights

CAPTIONS = ("a stick hits wood", "a stick scratches metal", "")


def encoded(
    number: int, *, windows: int = 1, poison: bool = False, caption_source: str = "label"
) -> EncodedClip:
    """A clip of made-up latents; its content follows from its number."""
    caption = CAPTIONS[number % len(CAPTIONS)]
    draw = np.random.default_rng(number)

    def tensor(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape).astype(np.float16)

    split: Split = "test" if number % 5 == 4 else "train"
    path = Path(f"/nowhere/{number}.mp4")
    ref = ClipRef(dataset="set", clip_id=f"clip{number:03}", path=path, split=split)
    rows = [
        LatentRow(
            dataset="set",
            clip_id=ref.clip_id,
            window=k,
            start_s=2.0 * k,
            split=split,
            caption=caption,
            caption_key=caption_key(caption),
            caption_source=caption_source,
            source_sha256=f"{number:064x}",
            fingerprint="f",
            scores={"motion": number / 10},
            video_mean=tensor(4, 3, 2, 2) * (np.float16("nan") if poison else 1),
            video_logvar=tensor(4, 3, 2, 2),
            audio_mean=tensor(10, 8),
            audio_logvar=tensor(10, 8),
        )
        for k in range(windows)
    ]
    tokens = np.full((len(caption.split()) + 1, 6), number % 3, np.float16)
    return EncodedClip(
        ref=ref,
        rows=tuple(replace(row, fingerprint=fingerprint(row, recipe="recipe")) for row in rows),
        texts=(TextEmbedding(key=caption_key(caption), caption=caption, tokens=tokens),),
    )


def write(folder: Path, clips: list[EncodedClip], *, per_shard: int = 4) -> DatasetManifest:
    """Commit the clips and finish the dataset."""
    writer = DatasetWriter(folder, recipe="recipe", owner="", footer={})
    for start in range(0, len(clips), per_shard):
        writer.commit(clips[start : start + per_shard])
    weights = Weights(sha256="0" * 64, location="somewhere")
    return finish_dataset(
        folder,
        recipe="recipe",
        keys=[(clip.ref.dataset, clip.ref.clip_id) for clip in clips],
        spec=ClipSpec(),
        frame_spans=[(0, 10), (11, 21), (22, 31)],
        video_vae=weights,
        audio_vae=weights,
        text_encoder=weights,
        config={},
    )


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., EncodedClip]:
    return encoded


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., DatasetManifest]:
    return write


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Ten clips, two windows each; clips 4 and 9 are for testing."""
    write(tmp_path / "latents-of-ten", [encoded(i, windows=2) for i in range(10)])
    return tmp_path / "latents-of-ten"
