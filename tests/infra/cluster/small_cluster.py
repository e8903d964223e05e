"""Raw files in the datasets' own layouts, public weights in their own formats, and presets; all are small.

The presets extend the real ones and change sizes and numbers of steps alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from syncflow.autoencoders.open_sora_vae import save_open_sora_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.media import write_clip
from syncflow.model.config import VideoTowerConfig
from syncflow.model.open_sora import export_video_tower
from syncflow.model.video_tower import VideoTower
from tests.pickled_t5 import write_pickled_t5
from tests.precompute_case import AUDIO, VIDEO
from tests.tiny_git import tiny_git

SPEC = {"seconds": 1.0, "height": 16, "width": 16, "sample_rate": 16_000}
TEXT = {"text_dim": 64, "max_text_tokens": 20}
TOWER = {"hidden_size": 16, "depth": 2, "num_heads": 2, **TEXT}
MODEL = {"video": TOWER, "audio": {"latent_dim": 8, **TOWER}, "adaptor": {"num_heads": 2}}
VGGSOUND = {  # file -> row of vggsound.csv: the three namings in the wild
    "-aaaaaaaaaa_000030.mp4": '-aaaaaaaaaa,30,"bird chirping, tweeting",train',
    "b_b-b_b-b_b_5000_15000.mp4": "b_b-b_b-b_b,5,dog barking,train",
    "ccccccccccc_40.000.mp4": "ccccccccccc,40,people clapping,test",
    "ddddddddddd_000007.mp4": "ddddddddddd,7,silence,train",
}
GREATEST_HITS = {"train": "2015-02-16-16-49-06", "test": "2015-02-16-16-56-35-1"}


def write_values(folder: Path, *, repository: Path, python: str) -> Path:
    """Everything under `folder`, and values.yaml that points to it."""
    raw, data = folder / "raw", folder / "data"
    _write_vggsound(raw / "vggsound")
    _write_greatest_hits(raw / "greatest_hits")
    _write_weights(folder / "hub")
    presets = {name: _write_presets(folder / "presets" / name, name, repository) for name in _SOURCES}
    small = {"workers": 1, "audio_vae_workers": 1, "precompute_gpus": 0, "generate_gpus": 0}
    values = {
        "storage_path": str(data),
        "tracking_uri": f"sqlite:///{data}/mlflow.db",
        "code": str(repository),
        "python": python,
        "offline": True,
        "weights": {
            name: str(folder / "hub" / name)
            for name in ("text_encoder", "captioner", "video_tower", "video_vae")
        },
        "vggsound": {
            "preset": str(presets["vggsound"]),
            "root": str(raw / "vggsound" / "video"),
            "index": str(raw / "vggsound" / "vggsound.csv"),
            "known_bad": str(raw / "vggsound" / "known_bad.csv"),
            **small,
        },
        "greatest_hits": {
            "preset": str(presets["greatest_hits"]),
            "root": str(raw / "greatest_hits"),
            "audio_vae": str(data / "vggsound" / "audio_vae"),
            "systems": ["audio_text"],
            **small,
        },
    }
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    data.mkdir()
    return path


def _clip(path: Path, number: int) -> None:
    draw = np.random.default_rng(number)
    frames = draw.integers(0, 255, (36, 32, 32, 3), dtype=np.uint8)
    audio = draw.uniform(-0.5, 0.5, 36_000).astype(np.float32)
    write_clip(path, frames=frames, audio=audio, fps=16, sample_rate=16_000)


def _write_vggsound(folder: Path) -> None:
    (folder / "video").mkdir(parents=True)
    for number, name in enumerate(VGGSOUND):
        _clip(folder / "video" / name, number)
    (folder / "vggsound.csv").write_text("".join(f"{row}\n" for row in VGGSOUND.values()))
    (folder / "known_bad.csv").write_text("clip,reason\nddddddddddd_7000_17000,silent\n")


def _write_greatest_hits(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, (split, video) in enumerate(GREATEST_HITS.items()):
        _clip(folder / f"{video}_denoised.mp4", 10 + number)
        (folder / f"{video}_times.txt").write_text("0.512 metal hit deform\n1.204 wood scratch None\n")
        (folder / f"{split}.txt").write_text(f"{video}\n")


def _write_weights(folder: Path) -> None:
    """T5 in pickled shards, GIT in one pickle, Open-Sora's two in safetensors."""
    torch.manual_seed(0)
    write_pickled_t5(folder / "text_encoder")
    _write_pickled_git(folder / "captioner")
    tower = VideoTower(**VideoTowerConfig(**TOWER).model_dump())
    export_video_tower(tower, folder / "video_tower")
    save_open_sora_vae(VideoVAE(**VIDEO.model_dump()).eval(), folder / "video_vae")


def _write_pickled_git(folder: Path) -> None:
    model, tokenizer = tiny_git()
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


_SOURCES: dict[str, dict[str, Any]] = {"vggsound": {}, "greatest_hits": {"segment_seconds": 2.0}}


def _write_presets(folder: Path, name: str, repository: Path) -> Path:
    folder.mkdir(parents=True)
    stage = {
        "model": MODEL,
        "steps": 2,
        "batch_size": 1,
        "engine": {"bf16": False, "kind": "deepspeed" if name == "vggsound" else "torch"},
        "checkpoint": {"every": 2},
        "validate_every": 2,
        "validation_batches": 1,
        "cache_gb": 0.1,
    }
    changes: dict[str, dict[str, Any]] = {
        "list_clips": {},
        "audio_vae": {
            "clip": SPEC,
            "audio": AUDIO.model_dump(mode="json"),
            "audio_objective": {"segment_samples": 4800},
            "adversarial": {"enabled": False},
            "steps": 2,
            "batch_size": 1,
            "windows_per_clip": 1,
            "bf16": False,
        },
        "precompute": {
            "source": _SOURCES[name],
            "spec": SPEC,
            "windows": {"count": 1},
            "caption": {"fallback": "a clip", "max_tokens": 4},
            "encode": {"text": {"max_tokens": 20, "dtype": "float32"}, "device": "cpu"},
            "workers": 1,
        },
        "audio": stage,
        "joint": stage,
        "audio_text": stage,
        "generate": {"clip": SPEC, "solver": {"steps": 2}, "device": "cpu", "dtype": "float32", "workers": 1},
        "evaluate": {"clip": SPEC},
    }
    for preset, values in changes.items():
        base = repository / "pipelines" / "configs" / name / f"{preset}.yaml"
        if base.is_file():
            text = yaml.safe_dump({"extends": str(base), **values})
            (folder / f"{preset}.yaml").write_text(text)
    return folder
