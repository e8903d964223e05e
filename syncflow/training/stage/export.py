"""A checkpoint of any saved state, for evaluation over several of them (Section 4: the last three).

<stage>/engine/step_00024000  ->  <stage>/checkpoints/step_00024000
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from syncflow.checkpoint import CheckpointManifest
from syncflow.config import load_config
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.training.resume import SavedState, find_fault, saved_steps
from syncflow.training.stage.checkpoint import write_checkpoint
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.export_config import ExportConfig
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import FirstWeights, starting_model
from syncflow.training.stage.whitening import FILE, load_whitening


def export_checkpoints(config: ExportConfig) -> list[Path]:
    """Write a checkpoint for each state that is asked for; their folders, the earliest step first.

    Raises:
        UserError: no such states, damaged ones, or data or first weights that are not those of the training.
    """
    stage = _settings(config)
    states = [SavedState(path) for path in _chosen(config)]
    if stage.lora.rank:
        raise UserError(
            f"run {config.run}: trained a LoRA; its adapter is {stage.folder / 'checkpoint'}, and "
            "--checkpoint.average-last averages its last states"
        )
    dataset = LatentDataset(stage.data, filters=stage.filters)
    _check_dataset(states, dataset.fingerprint, stage.data)
    untrained, came_from = _untrained(stage, states)
    output = (config.output or config.run / "checkpoints").resolve()
    written = []
    for state in states:
        folder = output / f"step_{state.step:08}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(
            folder,
            config=stage,
            untrained=untrained,
            states=[state],
            dataset=dataset.manifest,
            dataset_fingerprint=dataset.fingerprint,
            text_tokens=dataset.mean_text_tokens,
            initialised_from=came_from.source,
            initialised_from_sha256=came_from.sha256,
        )
        written.append(folder)
    return written


def _settings(config: ExportConfig) -> TrainConfig:
    path = config.run / "resolved.yaml"
    if not (config.run / "engine").is_dir() or not path.is_file():
        raise UserError(
            f"run {config.run}: no engine and resolved.yaml in it; give a stage's folder, as out/x/runs/audio"
        )
    stage = load_config(TrainConfig, path)
    if config.weights == "ema" and not stage.ema_decay:
        raise UserError(f"weights ema: {config.run} was trained without a moving average; use --weights raw")
    if config.weights != "auto":
        chosen = stage.checkpoint.model_copy(update={"weights": config.weights})
        stage = stage.model_copy(update={"checkpoint": chosen})
    return stage


def _chosen(config: ExportConfig) -> list[Path]:
    """The states, the earliest first; every one is read through before anything is written."""
    there = {int(path.name.removeprefix("step_")): path for path in saved_steps(config.run / "engine")}
    known = ", ".join(map(str, sorted(there))) or "none"
    missing = [step for step in config.steps if step not in there]
    if missing or not there:
        raise UserError(f"steps {', '.join(map(str, missing)) or '-'}: {config.run} has states of {known}")
    chosen = [there[step] for step in sorted(set(config.steps) or there)]
    for path in chosen:
        if fault := find_fault(path):
            raise UserError(f"{path}: damaged ({fault}); leave its step out with --steps; there are {known}")
    return chosen


def _check_dataset(states: Sequence[SavedState], fingerprint: str, data: Path) -> None:
    for state in states:
        if state.manifest["settings"]["dataset"] != fingerprint:
            raise UserError(f"{state.folder}: trained on other data than {data} holds now; put that back")


def _untrained(config: TrainConfig, states: Sequence[SavedState]) -> tuple[dict[str, Tensor], FirstWeights]:
    """The tensors that the stage does not train, and where its first weights came from.

    Of the stage's finished checkpoint where there is one, else as training itself begins; either way they
    must be those that the states name.
    """
    finished = config.folder / "checkpoint"
    if finished.is_dir():
        manifest = CheckpointManifest.read(finished)
        came_from = FirstWeights(source=manifest.initialised_from, sha256=manifest.initialised_from_sha256)
        tensors = load_file(finished / "diffusion_pytorch_model.safetensors")
    else:
        model, came_from = starting_model(config)
        if (config.folder / FILE).is_file():
            load_whitening(model, config.folder)
        tensors = model.state_dict()
    trained = _trained_names(config)
    untrained = {name: tensor for name, tensor in tensors.items() if name not in trained}
    found = tensors_sha256(untrained)
    for state in states:
        if state.manifest["settings"]["frozen_weights"] != found:
            raise UserError(
                f"{state.folder}: its frozen weights are not those of {came_from.source or finished}; "
                "put back the checkpoint that the stage was started from"
            )
    return untrained, came_from


def _trained_names(config: TrainConfig) -> set[str]:
    with torch.device("meta"):
        model = DualDiT(**config.model.model_dump())
    parts = tuple(f"{part}." for part in STAGES[config.stage].trains)
    return {name for name, _ in model.named_parameters() if name.startswith(parts)}
