"""A small job for tests: real clips good and bad, and autoencoders of a few kilobytes from a seed."""

from pathlib import Path

import numpy as np
import pytest
import torch

import preprocessing.worker as worker_module
from preprocessing.config import PrecomputeConfig
from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.config import AudioVAEConfig, VideoVAEConfig
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.config import validate
from syncflow.data.parquet import read_ledger
from syncflow.media import write_clip
from syncflow.records import ClipRef

VIDEO = VideoVAEConfig(
    spatial_block_channels=(8, 8, 8, 8),
    spatial_layers_per_block=1,
    spatial_norm_groups=4,
    temporal_filters=8,
    temporal_res_blocks=1,
    temporal_norm_groups=4,
)
AUDIO = AudioVAEConfig(
    sample_rate=16_000,
    latent_dim=8,
    num_filters=2,
    hidden_size=8,
    num_lstm_layers=0,
    upsampling_ratios=(8, 5, 4, 2),
)


def write_weights(folder: Path, *, seed: int = 0) -> None:
    """Both autoencoders, of random weights that a seed fixes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        VideoVAE(**VIDEO.model_dump()).save_pretrained(folder / "video_vae")
        AudioVAE(**AUDIO.model_dump()).save_pretrained(folder / "audio_vae")


def write_clip_number(path: Path, number: int) -> None:
    """A second and a half of moving noise with sound."""
    draw = np.random.default_rng(number)
    frames = draw.integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)
    audio = draw.uniform(-0.5, 0.5, 24_000).astype(np.float32)
    write_clip(path, frames=frames, audio=audio, fps=16, sample_rate=16_000)


def write_media(folder: Path, *, good: int) -> None:
    """`good` sound clips, an empty file and one of noise."""
    folder.mkdir(parents=True)
    for number in range(good):
        write_clip_number(folder / f"clip{number:02}.mp4", number)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))


def settings(root: Path, weights: Path, output: Path, **changes: object) -> dict[str, object]:
    """A job over a folder, as a preset would state it."""
    values: dict[str, object] = {
        "source": {"kind": "folder", "root": str(root)},
        "output": str(output),
        "spec": {"seconds": 0.5, "height": 16, "width": 16, "sample_rate": 16_000},
        "windows": {"count": 2},
        "caption": {"kind": "manifest", "fallback": "a clip"},
        "encode": {
            "video_vae": str(weights / "video_vae"),
            "audio_vae": str(weights / "audio_vae"),
            "text": {"location": "", "max_tokens": 20, "dtype": "float32", "width": 16, "heads": 2},
        },
        "executor": "loop",
        "clips_per_shard": 2,
        "failure_budget": 1.0,
    }
    return {**values, **changes}


def job(root: Path, weights: Path, output: Path, **changes: object) -> PrecomputeConfig:
    """`settings`, checked."""
    return validate(PrecomputeConfig, settings(root, weights, output, **changes), source="test")


def content(output: Path) -> dict[str, str]:
    """Every clip of the ledger, with its content hash, or what became of it."""
    rows = read_ledger(output / "ledger").values()
    return {row.clip_id: row.content_sha256 or f"{row.kind}:{row.reason}" for row in rows}


def rows_read_by_others(output: Path) -> list[tuple[str, int, str, str]]:
    """What pandas sees in a dataset's folder: id, window, caption and split of each row, in order."""
    import pandas as pd

    table = pd.read_parquet(output / "latents", columns=["clip_id", "window", "caption", "split"])
    return sorted(table.itertuples(index=False, name=None))


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with the ids that are decoded from now on."""
    seen: list[str] = []
    original = worker_module.DecodeStep.__call__

    def spy(self: object, batch: list[ClipRef]) -> list:
        seen.extend(ref.clip_id for ref in batch)
        return original(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(worker_module.DecodeStep, "__call__", spy)
    return seen
