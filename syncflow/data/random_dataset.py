"""A finished dataset of random latents: to time training, and to test it, without clips and autoencoders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncflow.autoencoders.spans import frame_spans
from syncflow.data.parquet.finish import finish_dataset
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.hashing import caption_key
from syncflow.records import ClipRef, ClipSpec, EncodedClip, LatentRow, TextEmbedding, Weights

SPEC = ClipSpec(height=32, width=32)
CAPTIONS = ("a stick hits wood", "a stick scratches metal", "a stick pokes cloth")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Shapes of the random latents, without a batch; captions, and the tokens of a prompt, take turns."""

    spec: ClipSpec = SPEC
    frame_spans: Sequence[tuple[int, int]] = tuple(frame_spans(32, frames_per_chunk=17, stride=4))
    video: tuple[int, ...] = (4, 9, 4, 4)
    audio: tuple[int, ...] = (20, 8)
    captions: Sequence[str] = CAPTIONS
    text_tokens: Sequence[int] = (4, 5, 6)
    text_width: int = 6


def clip_id(number: int) -> str:
    """Name of a clip by its number."""
    return f"clip{number:03}"


def encoded(number: int, sizes: Sizes) -> EncodedClip:
    """One clip of one window, whose content follows from its number."""
    draw = np.random.default_rng(number)
    caption = sizes.captions[number % len(sizes.captions)]
    key = caption_key(caption)

    def tensor(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape).astype(np.float16)

    row = LatentRow(
        dataset="set",
        clip_id=clip_id(number),
        window=0,
        start_s=0.0,
        split="test" if number % 5 == 4 else "train",
        caption=caption,
        caption_key=key,
        caption_source="label",
        source_sha256=f"{number:064x}",
        fingerprint="f",
        scores={"motion": 1.0},
        video_mean=tensor(*sizes.video),
        video_logvar=np.full(sizes.video, -4, np.float16),
        audio_mean=tensor(*sizes.audio),
        audio_logvar=np.full(sizes.audio, -4, np.float16),
    )
    path = Path(f"/nowhere/{number}.mp4")
    ref = ClipRef(dataset="set", clip_id=row.clip_id, path=path, split=row.split)
    shape = sizes.text_tokens[number % len(sizes.text_tokens)], sizes.text_width
    tokens = np.random.default_rng(len(caption)).standard_normal(shape).astype(np.float16)
    return EncodedClip(ref=ref, rows=(row,), texts=(TextEmbedding(key=key, caption=caption, tokens=tokens),))


def write_dataset(folder: Path, *, clips: int = 20, sizes: Sizes = Sizes(), per_shard: int = 1000) -> Path:
    """Write a finished dataset of clips of one window; every fifth clip is in the test split.

    Args:
        folder: a new folder.
        clips: number of clips.
        sizes: shapes of what is drawn.
        per_shard: clips per Parquet shard.
    """
    writer = DatasetWriter(folder, recipe="recipe", owner="", footer={})
    for start in range(0, clips, per_shard):
        writer.commit([encoded(number, sizes) for number in range(start, min(start + per_shard, clips))])
    weights = Weights(sha256="0" * 64, location="somewhere")
    finish_dataset(
        folder,
        recipe="recipe",
        keys=[("set", clip_id(number)) for number in range(clips)],
        spec=sizes.spec,
        frame_spans=sizes.frame_spans,
        video_vae=weights,
        audio_vae=weights,
        text_encoder=weights,
        config={},
    )
    return folder
