"""A sidecar -> the same clip again."""

from pathlib import Path

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.inputs import read_inputs
from syncflow.generation.sidecar import Sidecar
from syncflow.generation.worker import ClipWorker
from syncflow.hashing import file_sha256


def reproduce_clip(sidecar: Sidecar, config: GenerateConfig) -> bool:
    """Make one clip again with the settings in `config` (its own); whether its latents are the same bits.

    The whole of its batch is computed, as rounding depends on it, and this clip is written.

    Raises:
        UserError: other weights, or a given video that changed or is gone.
    """
    worker = ClipWorker(config)
    for name, sha256 in sidecar.weights.items():
        if worker.loaded.weights.get(name) != sha256:
            raise UserError(
                f"reproduce: the clip was made with other weights of {name}; give that --checkpoint"
            )
    for clip in sidecar.batch:
        if clip.video and not Path(clip.video).is_file():
            raise UserError(f"reproduce: video {clip.video} is gone; put it back")
        if clip.video and file_sha256(Path(clip.video)) != clip.video_sha256:
            raise UserError(f"reproduce: video {clip.video} has changed since; restore it")
    inputs = [read_inputs(clip, config, worker.spec) for clip in sidecar.batch]
    for clip, each in zip(sidecar.batch, inputs, strict=True):
        if each.failure:
            raise UserError(f"reproduce: video {clip.video}: {each.failure}")
    (again,) = worker.make(sidecar.batch, inputs, [sidecar.position], candidates=[sidecar.candidate])
    return again.latents == sidecar.latents


def settings_to_reproduce(sidecar: Sidecar, config: GenerateConfig) -> GenerateConfig:
    """The clip's own settings; of `config` its output, and its checkpoint and device where they are given."""
    own = {**sidecar.settings, "output": config.output, "reproduce": None, "device": sidecar.device}
    if config.checkpoint != Path():
        own["checkpoint"] = config.checkpoint
    if config.device != "auto":
        own["device"] = config.device
    return validate(GenerateConfig, own, source="reproduce")
