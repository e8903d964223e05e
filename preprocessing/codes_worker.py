"""The worker of a codes job: a latents shard's clips are read again, and its shard of codes is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preprocessing.codes_config import CodesConfig
from preprocessing.config import PrecomputeConfig
from preprocessing.decode import DecodeStep
from preprocessing.listing import list_clips
from syncflow.data.parquet.manifest import DatasetManifest
from syncflow.data.parquet.shards import read_table
from syncflow.errors import UserError
from syncflow.foleygen.codec import Codec, load_codec, resampled
from syncflow.foleygen.table import SHARDS, CodeRow, Key, write_codes
from syncflow.foleygen.visual import VisualEncoder, load_visual
from syncflow.hashing import settings_sha256
from syncflow.records import ClipRef, DecodedClip, DecodedWindow, Dropped

IDENTITY = ("dataset", "clip_id", "window", "start_s", "source_sha256")  # of a window, in a latents shard
Encoded = tuple[np.ndarray, np.ndarray]  # codes and features of a window


@dataclass(frozen=True, kw_only=True)
class CodesWork:
    """What every worker is told."""

    config: CodesConfig
    dataset: PrecomputeConfig  # how the dataset's clips are listed and read
    codec: str  # folder or hub id
    recipe: str


@dataclass(frozen=True, kw_only=True)
class StoredWindow:
    """A row of a latents shard."""

    dataset: str
    clip_id: str
    window: int
    start_s: float
    source_sha256: str

    @property
    def key(self) -> Key:
        return self.dataset, self.clip_id, self.window


@dataclass(frozen=True, kw_only=True)
class Models:
    """The codec and the visual encoder, loaded."""

    codec: Codec
    visual: VisualEncoder

    def shapes(self, dataset: DatasetManifest) -> tuple[tuple[int, int], tuple[int, int]]:
        """`k n` of a window's codes and `f d` of its features; asked of the models, with a silent window."""
        spec = dataset.spec
        window = DecodedWindow(
            index=0,
            start_s=0.0,
            frames=np.zeros((spec.num_frames, spec.height, spec.width, 3), np.uint8),
            audio=np.zeros(spec.num_samples, np.float32),
        )
        codes, features = self.encode(window, sample_rate=spec.sample_rate)
        return (codes.shape[0], codes.shape[1]), (features.shape[0], features.shape[1])

    def encode(self, window: DecodedWindow, *, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes int16 `k n` and features float16 `f d` of a window."""
        audio = resampled(window.audio, sample_rate, self.codec.sample_rate)
        codes = self.codec.encode(torch.from_numpy(audio[None]))[0]
        return codes.numpy().astype(np.int16), self.visual(window.frames).astype(np.float16)


def load_models(work: CodesWork) -> Models:
    """Onto the device of the settings.

    Raises:
        UserError: weights that are missing or do not fit, or no GPU where one is asked for.
    """
    config = work.config
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, and torch sees no GPU; use cpu or auto")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    codec = load_codec(work.codec, num_codebooks=config.codec.num_codebooks)
    module: Any = getattr(codec, "model", codec)
    module.to(device)
    return Models(codec=codec, visual=load_visual(config.visual, device=device))


class CodesWorker:
    """Makes the shard of codes of a latents shard; holds the models."""

    def __init__(self, work: CodesWork) -> None:
        self.work, self.models = work, load_models(work)
        self.shapes = self.models.shapes(DatasetManifest.read(work.config.data))
        dataset = work.dataset
        self.decode = DecodeStep(dataset.decode, dataset.spec, dataset.windows)
        self.refs = {(ref.dataset, ref.clip_id): ref for ref in list_clips(dataset).clips}

    def __call__(self, shard: str) -> int:
        """Write it; how many of its windows have codes.

        Raises:
            UserError: the latents shard is damaged, or the disk takes no more.
        """
        stored = stored_windows(self.work.config.data, shard)
        found: dict[Key, Encoded | str] = {}
        for clip in dict.fromkeys((row.dataset, row.clip_id) for row in stored):
            own = [row for row in stored if (row.dataset, row.clip_id) == clip]
            found |= self._encode(self.refs.get(clip), own)
        rows = self._rows(stored, found)
        write_codes(
            self.work.config.folder / SHARDS / shard,
            rows,
            recipe=self.work.recipe,
            source=source_of(stored),
        )
        return sum(not row.reason for row in rows)

    def _encode(self, ref: ClipRef | None, rows: list[StoredWindow]) -> dict[Key, Encoded | str]:
        """Codes and features of a clip's windows, or why there are none."""
        if ref is None:
            return {row.key: "not_listed: the source names the clip no more" for row in rows}
        clip = self.decode([ref])[0]
        if isinstance(clip, Dropped):
            return {row.key: f"{clip.reason}: {clip.detail}"[:300] for row in rows}
        return {row.key: self._encode_window(clip, row) for row in rows}

    def _encode_window(self, clip: DecodedClip, row: StoredWindow) -> Encoded | str:
        if clip.source_sha256 != row.source_sha256:
            return "source_changed: since its latents were made; run precompute_latents.py again"
        window = next((each for each in clip.windows if each.index == row.window), None)
        if window is None or window.start_s != row.start_s:
            return f"no_window: none begins at {row.start_s:g} s"
        codes, features = self.models.encode(window, sample_rate=self.work.dataset.spec.sample_rate)
        return (codes, features) if np.isfinite(features).all() else "nonfinite_features: NaN or Inf"

    def _rows(self, stored: list[StoredWindow], found: dict[Key, Encoded | str]) -> list[CodeRow]:
        codes, features = self.shapes
        empty = np.zeros(codes, np.int16), np.zeros(features, np.float16)
        rows = []
        for row in stored:
            made = found[row.key]
            reason = made if isinstance(made, str) else ""
            one, other = empty if isinstance(made, str) else made
            rows.append(CodeRow(key=row.key, codes=one, features=other, reason=reason))
        return rows


def stored_windows(data: Path, shard: str) -> list[StoredWindow]:
    """The windows of a latents shard, in the order of its rows."""
    table = read_table(data / "latents" / shard, columns=IDENTITY)
    return [StoredWindow(**row) for row in table.to_pylist()]


def source_of(windows: list[StoredWindow]) -> str:
    """Hash of which windows a shard is made of."""
    return settings_sha256([[getattr(row, name) for name in IDENTITY] for row in windows])
