"""Are the models at the places that a dataset names still those that made it?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from preprocessing.config import EncodeConfig
from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.config import validate
from syncflow.data.parquet import DatasetManifest
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.text import TextEncoder


@dataclass(frozen=True, kw_only=True)
class WeightsCheck:
    """What became of one model's check."""

    name: str
    kind: str  # verified, changed, or absent: it could not be loaded from there
    detail: str


def check_weights(manifest: DatasetManifest) -> Iterator[WeightsCheck]:
    """Load the three models from where the dataset says, one after the other, and compare their hashes."""
    settings = validate(EncodeConfig, manifest.config["encode"], source="dataset.json")
    dtype = getattr(torch, settings.dtype)
    hashes: dict[str, Callable[[], str]] = {
        "video_vae": lambda: _sha256(load_video_vae(settings.video_vae, dtype=dtype)),
        "audio_vae": lambda: _sha256(load_vae(AudioVAE, Path(settings.audio_vae), dtype=dtype)),
        "text_encoder": lambda: TextEncoder(settings.text).sha256,
    }
    for name, sha256_of in hashes.items():
        expected = getattr(manifest, name)
        try:
            found = sha256_of()
        except (UserError, OSError, ValueError) as error:
            detail = " ".join(str(error).split())[:200]
            yield WeightsCheck(name=name, kind="absent", detail=detail)
            continue
        kind = "verified" if found == expected.sha256 else "changed"
        detail = f"{expected.location or 'seeded'} has {found[:12]}, the dataset {expected.sha256[:12]}"
        yield WeightsCheck(name=name, kind=kind, detail=detail)


def _sha256(module: torch.nn.Module) -> str:
    return tensors_sha256(module.state_dict())
