"""The hand-over of a stage: its last states as a checkpoint (`syncflow/checkpoint.py` has the format)."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

from syncflow.checkpoint import SETTINGS, CheckpointManifest, model_config_sha256, part_hashes
from syncflow.config import dump_config
from syncflow.data.parquet import DatasetManifest
from syncflow.errors import UserError, full_disk
from syncflow.hashing import first_not_finite, tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.training.finite import NotFiniteError
from syncflow.training.resume import SavedState
from syncflow.training.stage.config import TrainConfig


def handed_weights(
    states: Sequence[SavedState], *, weights: Literal["ema", "raw"], prefix: str = "trained."
) -> dict[str, Tensor]:
    """Trained tensors by their name in the model: the mean over `states`, summed in float64.

    Args:
        prefix: of the trained tensors' names in a state.
    """
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
        model_config_sha256=model_config_sha256(config.model),
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
        dump_config(config, temporary / SETTINGS)
        manifest.write(temporary)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if told := full_disk(error):
            raise UserError(f"checkpoint {folder}: not written: {told}") from None
        raise
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    return manifest
