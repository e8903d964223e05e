"""The hand-over of a stage that trained a LoRA: the adapter alone, and a manifest that names its base.

<output>/<stage>/checkpoint/pytorch_lora_weights.safetensors     pipeline.load_lora_weights(folder)
                            adapter.json                         `AdapterManifest`
                            resolved.yaml                        the settings of the stage
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from syncflow.checkpoint import StageName
from syncflow.config import Config, dump_config
from syncflow.errors import UserError, full_disk
from syncflow.hashing import first_not_finite, tensors_sha256
from syncflow.model.lora import as_saved
from syncflow.records import ClipSpec
from syncflow.training.finite import NotFiniteError
from syncflow.training.resume import SavedState
from syncflow.training.stage.checkpoint import handed_weights
from syncflow.training.stage.config import TrainConfig
from syncflow.version import __version__

ADAPTER_MANIFEST = "adapter.json"
FORMAT = 1


class AdapterManifest(Config):
    """What an adapter is, and what it is an adapter of."""

    format: int = FORMAT
    """Version of this manifest."""
    version: str = __version__
    """Version of this package that wrote it."""
    stage: StageName
    """The stage that made it."""
    step: int
    """Updates done."""
    adapter_sha256: str
    """Content hash of the adapter's tensors."""
    base: str
    """Where the frozen weights came from: a checkpoint or a saved pipeline."""
    base_sha256: str
    """Content hash of the frozen model's tensors, in float32."""
    spec: ClipSpec
    """The window that it was trained on."""
    dataset: Path
    """Folder of the dataset."""
    dataset_fingerprint: str
    """Hash of what the dataset holds and of what made it."""


def write_adapter(
    folder: Path,
    *,
    config: TrainConfig,
    states: Sequence[SavedState],
    settings: Mapping[str, Any],
    base: str,
    base_sha256: str,
    spec: ClipSpec,
    dataset_fingerprint: str,
) -> AdapterManifest:
    """Write the adapter under a temporary name, and rename it.

    Args:
        folder: `<output>/<stage>/checkpoint`; an earlier one is replaced.
        config: settings of the stage.
        states: the last states; the weights of several are averaged.
        settings: of the adapter, as `syncflow.model.lora.settings_as_saved`.
        base: where the frozen weights came from.
        base_sha256: content hash of them.
        spec: the dataset's window.
        dataset_fingerprint: the dataset's content.

    Raises:
        NotFiniteError: a tensor holds NaN or Inf; an earlier adapter stays.
        UserError: the disk is full; an earlier adapter stays.
    """
    from diffusers.loaders.lora_base import LoraBaseMixin  # a stage without LoRA needs none of it

    weights = "ema" if config.checkpoint.weights == "ema" and config.ema_decay else "raw"
    tensors = as_saved(handed_weights(states, weights=weights))
    if bad := first_not_finite(tensors.items()):
        raise NotFiniteError(f"adapter {folder}: not written, {bad} is not finite")
    manifest = AdapterManifest(
        stage=config.stage,
        step=states[0].step,
        adapter_sha256=tensors_sha256(tensors),
        base=base,
        base_sha256=base_sha256,
        spec=spec,
        dataset=config.data.resolve(),
        dataset_fingerprint=dataset_fingerprint,
    )
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        LoraBaseMixin.write_lora_layers(
            tensors,
            str(temporary),
            is_main_process=True,
            weight_name=None,  # type: ignore[arg-type]
            save_function=None,  # type: ignore[arg-type]
            safe_serialization=True,
            lora_adapter_metadata=dict(settings),
        )
        dump_config(config, temporary / "resolved.yaml")
        text = manifest.model_dump_json(indent=2) + "\n"
        (temporary / ADAPTER_MANIFEST).write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if told := full_disk(error):
            raise UserError(f"adapter {folder}: not written: {told}") from None
        raise
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    return manifest
