"""Low-rank adapters (LoRA) of the dual DiT by peft, in diffusers' convention; `[lora]` installs peft.

A linear layer `y = W x + b` becomes `y = W x + b + (alpha / rank) B A x`, of which only A and B train.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256

if TYPE_CHECKING:
    from syncflow.model.dual_dit import DualDiT

COMPONENT = (
    "dual_dit"  # the part of a pipeline whose adapters a file holds: what its tensors' names begin with
)
ADAPTER = "default"  # name of the adapter that trains


def add_lora(
    model: "DualDiT",
    *,
    parts: Sequence[str],
    layers: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    generator: torch.Generator,
) -> None:
    """Give the model an adapter that changes nothing yet: A is drawn from `generator`, B is zero.

    Args:
        model: its own weights no longer train.
        parts: those of `video_tower`, `adaptors` and `audio_tower` that get adapters.
        layers: last names of the linear layers in them, such as `query_key_value`.
        rank: of A and B.
        alpha: over `rank`, the scale of what an adapter adds.
        dropout: probability with which an input of A is dropped in training.
        generator: on the CPU.

    Raises:
        UserError: no layer of these parts has one of the names.
    """
    from peft import LoraConfig

    pattern = rf"({'|'.join(parts)})\.(.*\.)?({'|'.join(layers)})"
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern)  # type: ignore[arg-type]
    try:
        model.add_adapter(config, ADAPTER)
    except ValueError:
        linear = {
            name.rpartition(".")[2] for name, each in model.named_modules() if isinstance(each, nn.Linear)
        }
        raise UserError(
            f"lora.layers {', '.join(layers)}: no such linear layer in {', '.join(parts)}; "
            f"there are {', '.join(sorted(linear))}"
        ) from None
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".lora_A." in name:
                bound = 1 / math.sqrt(tensor.shape[1])  # as peft's own, of draws that a key decides
                tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator))


def has_lora(model: nn.Module) -> bool:
    """Whether an adapter is in place."""
    return bool(getattr(model, "peft_config", None))


def is_lora(name: str) -> bool:
    """Whether a tensor of this name is an adapter's."""
    return ".lora_" in name


def base_sha256(model: "DualDiT") -> str:
    """Content hash of the model's own tensors, whatever adapters it has: that of the model without them."""
    own = {n: t for n, t in model.state_dict().items() if not is_lora(n)}
    return tensors_sha256({name.replace(".base_layer.", "."): tensor for name, tensor in own.items()})


def lora_parameters(model: "DualDiT", *, parts: Sequence[str], layers: Sequence[str], rank: int) -> int:
    """How many numbers an adapter of `model` has; the model may be on the meta device."""
    count = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith(tuple(f"{part}." for part in parts)):
            count += rank * (module.in_features + module.out_features) * (name.rpartition(".")[2] in layers)
    return count


def as_saved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the trained adapter, by name in the model, under the names that diffusers gives them."""
    return {
        f"{COMPONENT}.{name.replace(f'.{ADAPTER}.', '.')}": tensor.contiguous()
        for name, tensor in tensors.items()
    }


def settings_as_saved(model: "DualDiT") -> dict[str, Any]:
    """The adapter's settings (rank, alpha, layers) as diffusers writes them beside the tensors."""
    values = model.peft_config[ADAPTER].to_dict()  # type: ignore[union-attr, index]
    return {f"{COMPONENT}.{name}": value for name, value in values.items()}
