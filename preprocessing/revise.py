"""StoredClip -> EncodedClip: captions, their embeddings and the split anew; the moments stay as they are."""

import dataclasses
from pathlib import Path

from preprocessing.caption import no_caption
from preprocessing.config import CaptionConfig
from preprocessing.encode import EncodeStep, row_fingerprint
from preprocessing.keys import caption_of
from syncflow.data.parquet import read_rows
from syncflow.hashing import caption_key
from syncflow.records import Dropped, EncodedClip, LatentRow, StoredClip


class ReviseStep:
    """Nothing is decoded: the rows are read from their shard.

    Args:
        folder: the dataset.
        config: where captions come from; those that a model wrote stay.
        encode: embeds the captions.
    """

    def __init__(self, folder: Path, config: CaptionConfig, encode: EncodeStep) -> None:
        self.folder, self.config, self.encode = folder, config, encode
        self._shard: tuple[str, list[LatentRow]] = "", []

    def __call__(self, batch: list[StoredClip]) -> list[EncodedClip | Dropped]:
        return [self._revise(clip) for clip in batch]

    def _revise(self, clip: StoredClip) -> EncodedClip | Dropped:
        ref = clip.ref
        stored = [
            row for row in self._rows(clip.shard) if (row.dataset, row.clip_id) == (ref.dataset, ref.clip_id)
        ]
        told = [(row.caption, row.caption_source) for row in stored]
        if not self.config.by_model:
            told = [caption_of(ref, row.window, self.config) for row in stored]
        if not all(caption for caption, _ in told):
            return no_caption(ref, stored[0].source_sha256)
        rows = tuple(
            row_fingerprint(
                dataclasses.replace(
                    row,
                    split=ref.split,
                    caption=caption,
                    caption_key=caption_key(caption),
                    caption_source=told[0][1],
                ),
                recipe=self.encode.recipe,
            )
            for row, (caption, _) in zip(stored, told, strict=True)
        )
        texts = tuple(
            self.encode.embedding(caption) for caption in dict.fromkeys(row.caption for row in rows)
        )
        return EncodedClip(ref=ref, rows=rows, texts=texts, source_state=clip.source_state)

    def _rows(self, shard: str) -> list[LatentRow]:
        if self._shard[0] != shard:
            self._shard = shard, read_rows(self.folder / "latents" / shard)
        return self._shard[1]
