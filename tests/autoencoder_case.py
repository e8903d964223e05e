"""Settings and clips for small autoencoder runs."""

from pathlib import Path
from typing import Any

import numpy as np

from syncflow.config import validate
from syncflow.media import write_clip
from syncflow.training.autoencoder.config import AutoencoderTrainConfig

RATE, SIZE = 48_000, 16


def write_clips(folder: Path, *, count: int = 3, seconds: float = 1.0) -> Path:
    """Clips of a square that jumps at each click."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw = np.random.default_rng(number)
        frames = np.full((int(16 * seconds), SIZE, SIZE, 3), 40 * number, dtype=np.uint8)
        audio = (1e-3 * draw.standard_normal(int(RATE * seconds))).astype(np.float32)
        for click in draw.uniform(0.1, seconds - 0.1, 2):
            frames[int(click * 16) :, 4:8, 4:8] += 90
            tail = audio[int(click * RATE) :][:2400]
            tail += 0.5 * np.exp(-np.arange(len(tail)) / 300) * np.sin(np.arange(len(tail)) * 0.2)
        write_clip(folder / f"{number}.mp4", frames=frames, audio=audio.clip(-1, 1), fps=16, sample_rate=RATE)
    return folder


def small_config(kind: str, *, clips: Path, output: Path, **changes: Any) -> AutoencoderTrainConfig:
    """Six small steps; `changes` are settings by name."""
    values: dict[str, Any] = {
        "kind": kind,
        "clips": clips,
        "held_out": clips,
        "output": output,
        "clip": {"seconds": 1.0, "height": SIZE, "width": SIZE},
        "audio": {"latent_dim": 4, "num_filters": 2, "hidden_size": 8, "num_lstm_layers": 0},
        "video": {
            "spatial_block_channels": [8, 8, 8, 16],
            "spatial_layers_per_block": 1,
            "spatial_norm_groups": 1,
            "temporal_filters": 12,
            "temporal_res_blocks": 1,
            "temporal_norm_groups": 1,
        },
        "audio_objective": {"segment_samples": 4800},
        "video_objective": {"frames_per_step": 2, "segment_frames": 5},
        "adversarial": {"from_step": 1, "windows": [256, 64], "filters": 2},
        "optimizer": {"lr": 1e-3, "warmup_steps": 2, "decay": "cosine", "weight_decay": 0.0},
        "windows_per_clip": 1,
        "steps": 6,
        "batch_size": 2,
        "checkpoint_every": 3,
        "log_every": 1,
        "ema_decay": 0.9,
    }
    for name, value in changes.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    return validate(AutoencoderTrainConfig, values, source="test")
