"""The three stages of modality-decoupled training (Section 3.2), as data."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from syncflow.checkpoint import StageName
from syncflow.errors import UserError
from syncflow.model.config import PARTS, Part
from syncflow.model.lora import has_lora, is_lora

Modality = Literal["video", "audio"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage trains, what its loss scores, and which stage's checkpoint it starts from.

    Any stage may start from Open-Sora's weights as they are, or from nothing, instead: the video tower of
    the paper's stage 2 is the released one, and `joint` from there is the single-stage baseline.
    """

    name: StageName
    trains: tuple[Part, ...]
    scores: tuple[Modality, ...]
    starts_from: StageName | None  # None: no stage comes before

    @property
    def leaves(self) -> tuple[Part, ...]:
        """The parts that it does not train."""
        return tuple(part for part in PARTS if part not in self.trains)


STAGES: dict[StageName, Stage] = {
    stage.name: stage
    for stage in (
        Stage(name="video", trains=("video_tower",), scores=("video",), starts_from=None),
        Stage(name="audio", trains=("adaptors", "audio_tower"), scores=("audio",), starts_from="video"),
        Stage(name="joint", trains=PARTS, scores=("video", "audio"), starts_from="audio"),
    )
}


def freeze(model: nn.Module, stage: Stage) -> None:
    """Leave exactly the stage's parts trainable; where the model has a LoRA, of these only the LoRA."""
    for part in PARTS:
        getattr(model, part).requires_grad_(part in stage.trains)
    if has_lora(model):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and is_lora(name))


def hold_in_bf16(part: nn.Module, name: str) -> dict[str, Tensor]:
    """Round a frozen part of the model to bfloat16; its exact tensors, on the CPU, under the model's names.

    Half of the memory, and no casts in a step: its features are then those that sampling in bfloat16 gives.
    """
    exact = {f"{name}.{key}": tensor.cpu() for key, tensor in part.state_dict().items()}
    nn.Module.to(part, torch.bfloat16)
    return exact


def check_order(stage: Stage, *, found: str, source: str) -> None:
    """Refuse a checkpoint of another stage than the one before `stage`, or `stage` itself (fine-tuning).

    Args:
        found: the stage of the checkpoint.

    Raises:
        UserError: it names both stages and the remedy.
    """
    if found in (stage.starts_from, stage.name):
        return
    wanted = " or ".join(repr(name) for name in (stage.starts_from, stage.name) if name)
    raise UserError(
        f"initialise_from {source}: a checkpoint of stage {found!r}, but stage {stage.name!r} starts from "
        f"one of stage {wanted}, Open-Sora's weights or `none`; "
        "run the stages in the order video, audio, joint"
    )
