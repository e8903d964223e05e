"""The hand-over of a stage: weights and config as safetensors, and a manifest that says what made them.

<output>/<stage>/checkpoint/config.json                          DualDiT.from_pretrained(folder)
                            diffusion_pytorch_model.safetensors
                            manifest.json                        `CheckpointManifest`
                            resolved.yaml                        the settings of the stage
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

from syncflow.config import Config, dump_config, validate
from syncflow.data.parquet import DatasetManifest, Weights
from syncflow.errors import UserError, full_disk
from syncflow.hashing import settings_sha256, tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.records import ClipSpec
from syncflow.training.finite import NotFiniteError, first_not_finite
from syncflow.training.resume import SavedState
from syncflow.training.stage.config import StageName, TrainConfig
from syncflow.training.stage.stages import PARTS
from syncflow.version import __version__

MANIFEST = "manifest.json"
FORMAT = 1


class CheckpointManifest(Config):
    """What a checkpoint is, and all that sampling needs to find."""

    format: int = FORMAT
    """Version of this manifest."""
    version: str = __version__
    """Version of this package that wrote it."""
    stage: StageName
    """The stage that made it."""
    step: int
    """Updates done in that stage."""
    weights: Literal["ema", "raw"]
    """Which weights of the trained parts."""
    averaged: int
    """How many states were averaged."""
    parts: dict[str, str]
    """Content hash of each part: video_tower, adaptors, audio_tower."""
    model_sha256: str
    """Content hash of all tensors."""
    model_config_sha256: str
    """Hash of the model's settings."""
    spec: ClipSpec
    """The window that it was trained on."""
    frame_spans: tuple[tuple[int, int], ...] = ()
    """First and last pixel frame of each video latent frame of that window; empty in older checkpoints."""
    dataset: Path
    """Folder of the dataset."""
    dataset_fingerprint: str
    """Hash of what the dataset holds and of what made it."""
    video_vae: Weights
    """What encoded the picture, and decodes it."""
    audio_vae: Weights
    """What encoded the sound, and decodes it."""
    text_encoder: Weights
    """What encoded the prompts."""
    dataset_config: dict[str, Any]
    """Settings of the dataset's job; they rebuild a text encoder that comes from a seed."""
    initialised_from: str
    """Where the first weights came from; empty for random ones."""
    initialised_from_sha256: str = ""
    """Content hash of the tensors there; empty for random ones."""
    clean_video: float | None = None
    """Share of the samples whose video was finished (`flow.time.clean_video`); None in older checkpoints."""
    prompt_dropout: float | None = None
    """Share of the prompts that the null prompt replaced; None in older checkpoints."""
    text_tokens: int | None = None
    """Mean length of the training prompts, tokens, in whose place the null prompt stood; None in older
    checkpoints."""

    @classmethod
    def read(cls, folder: Path) -> "CheckpointManifest":
        """The manifest of the checkpoint at `folder`.

        Raises:
            UserError: no checkpoint is there, or one of another format.
        """
        path = folder / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
        except OSError:
            raise UserError(
                f"checkpoint {folder}: no {MANIFEST} in it; give the folder `checkpoint` of a trained stage"
            ) from None
        import yaml  # JSON is YAML; a broken file gives one kind of error

        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"checkpoint {path}: damaged: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UserError(f"checkpoint {path}: not a manifest of format {FORMAT}")
        return validate(cls, values, source=str(path))


def part_hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Content hash of each part of a model's tensors."""
    return {
        part: tensors_sha256({n: t for n, t in tensors.items() if n.startswith(f"{part}.")}) for part in PARTS
    }


def model_sha256(config: Any) -> str:
    """Hash of a model's settings, as `DualDiTConfig`."""
    return settings_sha256(config.model_dump(mode="json"))


def load_checkpoint(folder: Path) -> tuple[DualDiT, CheckpointManifest]:
    """The model and the manifest; every tensor is checked against its hash.

    Raises:
        UserError: not a checkpoint, or its weights are not those that the manifest names.
    """
    manifest = CheckpointManifest.read(folder)
    try:
        model = DualDiT.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"checkpoint {folder}: cannot be read: {' '.join(str(error).split())[:300]}"
        ) from None
    if tensors_sha256(model.state_dict()) != manifest.model_sha256:
        raise UserError(f"checkpoint {folder}: its weights are not those of its manifest; make it again")
    if bad := first_not_finite(model.state_dict().items()):
        raise UserError(f"checkpoint {folder}: {bad} is not finite; train its stage again from a good state")
    return model, manifest


def handed_weights(
    states: Sequence[SavedState], *, weights: Literal["ema", "raw"], prefix: str = "trained."
) -> dict[str, Tensor]:
    """Trained tensors by their name in the model: the mean over `states`, summed in float64."""
    kind = "ema/" if weights == "ema" else "weight/"
    names = [name for name in states[0] if name.startswith(kind + prefix)]
    assert names, f"{states[0].folder} holds no {kind}{prefix}*"
    result = {}
    for name in names:
        short = name.removeprefix(kind + prefix)
        if len(states) == 1:
            result[short] = states[0][name]
            continue
        total = sum((state[name].double() for state in states), torch.zeros((), dtype=torch.float64))
        result[short] = (total / len(states)).float()
    return result


def write_checkpoint(
    folder: Path,
    *,
    config: TrainConfig,
    untrained: Mapping[str, Tensor],
    states: Sequence[SavedState],
    dataset: DatasetManifest,
    dataset_fingerprint: str,
    text_tokens: float,
    initialised_from: str,
    initialised_from_sha256: str,
) -> CheckpointManifest:
    """Write the hand-over of a stage under a temporary name, and rename it.

    Args:
        folder: `<output>/<stage>/checkpoint`; an earlier one is replaced.
        untrained: the model's other tensors (frozen parts, buffers) by name.
        states: the last states; the weights of several are averaged.
        text_tokens: mean length of the training prompts.

    Raises:
        NotFiniteError: a tensor holds NaN or Inf; an earlier checkpoint stays.
        UserError: the disk is full; likewise.
    """
    weights = "ema" if config.checkpoint.weights == "ema" and config.ema_decay else "raw"
    with torch.device("meta"):
        model = DualDiT(**config.model.model_dump())
    tensors = {name: tensor.cpu() for name, tensor in untrained.items()}
    tensors |= handed_weights(states, weights=weights)
    if bad := first_not_finite(tensors.items()):
        raise NotFiniteError(f"checkpoint {folder}: not written, {bad} is not finite")
    model.load_state_dict(tensors, strict=True, assign=True)
    manifest = CheckpointManifest(
        stage=config.stage,
        step=states[0].step,
        weights=weights,
        averaged=len(states),
        parts=part_hashes(model.state_dict()),
        model_sha256=tensors_sha256(model.state_dict()),
        model_config_sha256=model_sha256(config.model),
        spec=dataset.spec,
        frame_spans=dataset.frame_spans,
        dataset=config.data.resolve(),
        dataset_fingerprint=dataset_fingerprint,
        video_vae=dataset.video_vae,
        audio_vae=dataset.audio_vae,
        text_encoder=dataset.text_encoder,
        dataset_config=dataset.config,
        initialised_from=initialised_from,
        initialised_from_sha256=initialised_from_sha256,
        clean_video=config.flow.time.clean_video,
        prompt_dropout=config.prompt_dropout,
        text_tokens=round(text_tokens),
    )
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary, safe_serialization=True)
        dump_config(config, temporary / "resolved.yaml")
        (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if told := full_disk(error):
            raise UserError(f"checkpoint {folder}: not written: {told}") from None
        raise
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    return manifest
