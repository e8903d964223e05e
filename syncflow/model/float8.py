"""Products of frozen blocks in float8 (e4m3): weights rounded once, activations at each call.

Each row of a weight, and each token, has its own scale, by which its largest number becomes 448, the
largest of e4m3. So no token depends on another one of its batch, and no number is read from the device. The
rest of a block (attention, norms, modulation, GELU, the residual stream) stays in bfloat16.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.model.audio_tower import AudioBlock
from syncflow.model.config import Part
from syncflow.model.dual_dit import DualDiT
from syncflow.model.linear import Linear
from syncflow.model.lora import is_lora
from syncflow.model.video_tower import VideoBlock

E4M3, HALF = torch.float8_e4m3fn, torch.bfloat16
LARGEST = torch.finfo(E4M3).max  # 448
SMALLEST_SCALE = 1e-12  # of a row of zeros
MULTIPLE = 16  # of both sizes of a weight, as the kernels need them
FIRST_TORCH, FIRST_CAPABILITY = "2.10", (8, 9)  # torch.nn.functional.scaled_mm; Ada, Hopper and later


def to_float8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of `x` (`n k`) over their scales in e4m3, and the scales (float32 `n 1`)."""
    largest = torch.linalg.vector_norm(x, ord=float("inf"), dim=-1, keepdim=True, dtype=torch.float32)
    scale = (largest / LARGEST).clamp(min=SMALLEST_SCALE)
    rounded = torch.empty(x.shape, dtype=E4M3, device=x.device)
    return torch.div(x, scale, out=rounded), scale  # one pass: `x / scale` would lie in float32 between two


class Float8Linear(nn.Module):
    """A linear map whose product is computed in float8; `... in` of any type to `... out` in bfloat16.

    Its state is that of the map in its place: `weight` as rounded, in bfloat16, and `bias`. Casts leave it
    as it is.

    Args:
        layer: the map in its place; it is not changed.

    Raises:
        ValueError: at a call whose input needs a gradient.
    """

    weight: Tensor  # out in, e4m3
    scale: Tensor  # 1 out, float32
    bias: Tensor  # out, bfloat16

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, scale = to_float8(layer.weight.detach())
        for name, tensor in (
            ("weight", weight),
            ("scale", scale.t()),
            ("bias", layer.bias.detach().to(HALF)),
        ):
            self.register_buffer(name, tensor.contiguous(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() and input.requires_grad:
            raise ValueError(
                "Float8Linear: no gradient goes through a product in float8; call it under torch.no_grad(), "
                "or load the weights without float8"
            )
        rows, scale = to_float8(input.reshape(-1, input.shape[-1]))
        by_row = F.ScalingType.RowWise
        product = F.scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_recipe_a=by_row,
            scale_b=self.scale,
            scale_recipe_b=by_row,
            bias=self.bias,
            output_dtype=HALF,
            use_fast_accum=True,
        )
        return product.view(*input.shape[:-1], -1)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = (self.weight.float() * self.scale.t()).to(HALF)
        destination[f"{prefix}bias"] = self.bias

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float8Linear":
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            if getattr(self, name).dtype != tensor.dtype:
                setattr(self, name, tensor.to(getattr(self, name).device))
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"


def compute_in_float8(
    model: DualDiT, parts: Sequence[Part], *, setting: str, device: torch.device | None = None
) -> str:
    """Put float8 in the place of the linear maps in the blocks of `parts`; what was done, for a message.

    Embeddings, modulation of all blocks, heads and norms stay as they are, and maps whose sizes are no
    multiples of 16. The parts are in bfloat16 and no longer train.

    Args:
        setting: name of the setting that asks for it, for the error.
        device: where the model will run; None: where it is.

    Raises:
        UserError: the device or torch cannot do it, weights in another type, an adapter that is not merged,
            or no map of such sizes; it names `setting`.
    """
    towers = [getattr(model, part) for part in parts]
    if reason := cannot_multiply(towers[0].device if device is None else device):
        raise UserError(f"{setting}: {reason}, or leave it off")
    names = [name for tower in towers for name, _ in tower.named_parameters()]
    if any(is_lora(name) for name in names):
        raise UserError(
            f"{setting}: an adapter is upon the weights; merge it first (fuse_lora, unload_lora_weights)"
        )
    if kinds := {tower.dtype for tower in towers} - {HALF}:
        raise UserError(
            f"{setting}: weights in {str(kinds.pop()).removeprefix('torch.')}, and results of products in "
            "float8 are bfloat16; load the weights in bfloat16"
        )
    fitting, left = _maps_in_blocks(model, parts)
    if not fitting:
        raise UserError(
            f"{setting}: none of the {left} linear maps in the blocks has sizes that are multiples of "
            f"{MULTIPLE}; leave it off"
        )
    for owner, name, layer in fitting:
        setattr(owner, name, Float8Linear(layer))
    rest = f"; {left} stay in bfloat16, their sizes are no multiples of {MULTIPLE}" if left else ""
    return f"{setting}: {len(fitting)} linear maps of {' and '.join(parts)} compute in float8{rest}"


def computes_in_float8(model: nn.Module) -> bool:
    """Whether `compute_in_float8` has changed it."""
    return any(isinstance(module, Float8Linear) for module in model.modules())


def float8_parameters(model: DualDiT, parts: Sequence[Part]) -> int:
    """How many parameters `compute_in_float8` would hold in one byte; the model may be on the meta device."""
    return sum(layer.weight.numel() for _, _, layer in _maps_in_blocks(model, parts)[0])


def _maps_in_blocks(model: DualDiT, parts: Sequence[Part]) -> tuple[list[tuple[nn.Module, str, Linear]], int]:
    """Linear maps of fitting sizes, each with its owner and its name there; the number of the others."""
    found = [
        (owner, name, layer)
        for part in parts
        for block in getattr(model, part).modules()
        if isinstance(block, (VideoBlock, AudioBlock))
        for owner in block.modules()
        for name, layer in owner.named_children()
        if type(layer) is Linear
    ]
    fitting = [each for each in found if not any(size % MULTIPLE for size in each[2].weight.shape)]
    return fitting, len(found) - len(fitting)


@cache
def cannot_multiply(device: torch.device) -> str:
    """Why products in float8 cannot be computed on `device`, and what to do; empty where they can."""
    if not hasattr(F, "scaled_mm"):
        return (
            f"torch {torch.__version__} has no torch.nn.functional.scaled_mm; install {FIRST_TORCH} or later"
        )
    if device.type == "cuda" and torch.version.hip is None:
        found = torch.cuda.get_device_capability(device)
        if found < FIRST_CAPABILITY:
            return (
                f"{torch.cuda.get_device_name(device)} has compute capability {found[0]}.{found[1]}, and "
                "float8 begins with 8.9 (Ada, Hopper); take such a GPU"
            )
    try:
        one = Linear(MULTIPLE, MULTIPLE, device=device, dtype=HALF)
        Float8Linear(one)(torch.ones(MULTIPLE, MULTIPLE, device=device, dtype=HALF))
    except (RuntimeError, TypeError, ValueError) as error:  # each device has its own way to refuse
        told = " ".join(str(error).split())[:200]
        return f"torch {torch.__version__} computes no product in float8 on {device} ({told}); update torch"
    return ""
