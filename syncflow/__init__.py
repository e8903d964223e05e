"""SyncFlow: temporally aligned joint audio-video generation from text.

    from syncflow import SyncFlowPipeline
    pipeline = SyncFlowPipeline.from_pretrained("tiny")

The names of `__all__` are imported when they are first used, so importing this package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from syncflow.version import __version__

if TYPE_CHECKING:
    from syncflow.autoencoders.audio_vae import AudioVAE
    from syncflow.autoencoders.video_vae import VideoVAE
    from syncflow.data.batches import LatentDataset
    from syncflow.generation.loading import load_pipeline
    from syncflow.media import write_clip
    from syncflow.model.dual_dit import DualDiT
    from syncflow.sampling.pipeline import SyncFlowPipeline

_MODULES = {
    "AudioVAE": "syncflow.autoencoders.audio_vae",
    "DualDiT": "syncflow.model.dual_dit",
    "LatentDataset": "syncflow.data.batches",
    "SyncFlowPipeline": "syncflow.sampling.pipeline",
    "VideoVAE": "syncflow.autoencoders.video_vae",
    "load_pipeline": "syncflow.generation.loading",
    "write_clip": "syncflow.media",
}

__all__ = [
    "AudioVAE",
    "DualDiT",
    "LatentDataset",
    "SyncFlowPipeline",
    "VideoVAE",
    "__version__",
    "load_pipeline",
    "write_clip",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'syncflow' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
