"""A finished dataset of random latents, small unless told otherwise, and a small model that fits it."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from syncflow.autoencoders.spans import frame_spans
from syncflow.data.parquet import Weights
from syncflow.data.parquet.finish import finish_dataset
from syncflow.data.parquet.writer import DatasetWriter
from syncflow.flow.latents import map_latents
from syncflow.records import ClipRef, ClipSpec, EncodedClip, LatentBatch, LatentRow, TextEmbedding
from syncflow.text import caption_key
from syncflow.training.engine import Engine
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.run import EngineFactory

SPEC = ClipSpec(height=32, width=32)
CAPTIONS = ("a stick hits wood", "a stick scratches metal", "a stick pokes cloth")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of what is drawn; captions, and the tokens of a prompt, take turns."""

    spec: ClipSpec = SPEC
    frame_spans: Sequence[tuple[int, int]] = tuple(frame_spans(32, frames_per_chunk=17, stride=4))
    video: tuple[int, ...] = (4, 9, 4, 4)
    audio: tuple[int, ...] = (20, 8)
    captions: Sequence[str] = CAPTIONS
    text_tokens: Sequence[int] = (4, 5, 6)
    text_width: int = 6


def clip_id(number: int) -> str:
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


def poisoned(make_engine: EngineFactory, *, at: Callable[[LatentBatch, bool], bool]) -> EngineFactory:
    """Engines whose objective is given NaN for the batches that `at(batch, training)` names."""

    def factory(objective: FlowObjective, config: TrainConfig) -> Engine[LatentBatch]:
        def change(module: nn.Module, arguments: tuple[LatentBatch]) -> tuple[LatentBatch]:
            (batch,) = arguments
            if not at(batch, module.training):
                return arguments
            latents = map_latents(lambda tensor: tensor * torch.nan, batch.latents)
            return (dataclasses.replace(batch, latents=latents),)

        objective.register_forward_pre_hook(change)
        return make_engine(objective, config)

    return factory


SMALL = {
    "model": {
        "video": {"hidden_size": 16, "depth": 2, "num_heads": 2, "text_dim": 6, "max_text_tokens": 12},
        "audio": {
            "latent_dim": 8,
            "latent_rate": 10.0,
            "hidden_size": 16,
            "depth": 2,
            "num_heads": 2,
            "text_dim": 6,
        },
        "adaptor": {"num_heads": 2},
    },
    "optimizer": {"lr": 1e-3, "warmup_steps": 4},
    "engine": {"kind": "torch", "bf16": False},
    "checkpoint": {"every": 3, "keep": 2},
    "tracking_uri": "none",
    "steps": 6,
    "batch_size": 4,
    "workers": 1,
    "ema_decay": 0.9,
    "log_every": 1,
    "validate_every": 0,
    "cache_gb": 0.1,
}
