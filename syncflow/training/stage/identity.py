"""Which run of a stage it is: its settings, its data and its first weights, not the folder where it lies."""

from pathlib import Path
from typing import Any

from syncflow.checkpoint import MANIFEST, CheckpointManifest
from syncflow.config import load_config, settings_of
from syncflow.data.batches import LatentDataset
from syncflow.training.resume import check_settings
from syncflow.training.stage.config import LoraConfig, TrainConfig
from syncflow.training.stage.start import first_weights_sha256

NAMED_BEFORE = "before_"  # folders of runs that were set aside


def compared_settings(config: TrainConfig, *, dataset: str, first_weights: str) -> dict[str, Any]:
    """What must be the same when a run goes on or is used again, by dotted name.

    Args:
        dataset: its fingerprint.
        first_weights: content hash of the weights that the stage starts from; empty where a seed draws them.
    """
    flat: dict[str, Any] = {"dataset": dataset, "first_weights": first_weights, **settings_of(config)}
    # states of before there were these settings do not name them: at their defaults they are left out
    unset = {f"lora.{name}": value for name, value in settings_of(LoraConfig()).items()}
    unset |= {"one_video_draw": False, "frozen_fp8": False}
    flat = {name: value for name, value in flat.items() if name not in unset or value != unset[name]}
    flat["samples_an_update"] = config.update_samples
    if config.flow.coupling.method != "none" and config.flow.coupling.scope == "batch":
        flat["batch_size"] = config.batch_size  # the samples that exchange noise
    if config.optimizer.decay != "none":
        flat["steps"] = config.steps  # the end of the schedule
    return flat


def is_finished(config: TrainConfig) -> bool:
    """Whether the checkpoint that `config` asks for is there.

    Raises:
        UserError: there is one of other settings, data or first weights; it names the difference.
    """
    folder = config.folder / "checkpoint"
    if not (folder / MANIFEST).is_file():
        return False
    manifest, made = CheckpointManifest.read(folder), load_config(TrainConfig, folder / "resolved.yaml")
    dataset = LatentDataset(config.data, filters=config.filters).fingerprint
    saved = compared_settings(
        made, dataset=manifest.dataset_fingerprint, first_weights=manifest.initialised_from_sha256
    )
    current = compared_settings(config, dataset=dataset, first_weights=first_weights_sha256(config))
    if manifest.initialised_from and not manifest.initialised_from_sha256:  # an early checkpoint
        saved["first_weights"] = current["first_weights"]
    allowed = config.allow_change
    check_settings(saved, current, allowed=allowed, source=str(folder), anew="--begin-again")
    handed = ("weights", "average_last")
    same = all(getattr(made.checkpoint, name) == getattr(config.checkpoint, name) for name in handed)
    return same and manifest.step == config.steps


def set_aside(folder: Path, *, keep: str) -> Path | None:
    """Move what a run has left in `folder` to a subfolder; None where there is nothing.

    Args:
        keep: name of a file that stays, and of hidden ones that belong to it.
    """
    staying = (keep, f".{keep}", NAMED_BEFORE)
    left = [path for path in folder.iterdir() if not path.name.startswith(staying)]
    if not left:
        return None
    number = 1 + len(list(folder.glob(f"{NAMED_BEFORE}*")))
    place = folder / f"{NAMED_BEFORE}{number}"
    place.mkdir()
    for path in left:
        path.rename(place / path.name)
    return place
