"""torch.compile and Triton for the blocks that repeat, by the settings that ask for them."""

import os
import shutil

from syncflow.errors import UserError
from syncflow.model.dual_dit import DualDiT
from syncflow.model.video_tower import TemporalBlock

LIMIT = 64  # graphs of a block: lengths of prompts, batch sizes, with and without gradients


def no_compiler() -> str:
    """Why torch.compile cannot work here; empty where it can."""
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
    if any(shutil.which(name) for name in names):
        return ""
    return f"no C++ compiler on PATH ({', '.join(names)}); install g++"


def compile_blocks(
    model: DualDiT, *, setting: str, memory_budget: float = 1.0, or_eager: bool = False
) -> None:
    """Compile each kind of block and the adaptors, for each shape that they are called with.

    Args:
        setting: name of the setting that asks for it, for the error.
        memory_budget: share of a block's activations that is kept for the backward pass; the rest is
            computed again, what is cheapest first. 1 keeps what is faster to keep.
        or_eager: a block that torch cannot compile runs as it is, and torch's log says which and why; else
            its error is raised.

    Raises:
        UserError: no C++ compiler, for which torch.compile would write; it names `setting`.
    """
    if reason := no_compiler():
        raise UserError(f"{setting}: {reason}, or leave it off")
    import torch._dynamo.config
    import torch._functorch.config

    torch._dynamo.config.recompile_limit = max(LIMIT, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.suppress_errors = or_eager
    torch._functorch.config.activation_memory_budget = memory_budget
    model.compile_repeated_blocks(dynamic=False)


def attend_in_one_kernel(model: DualDiT, *, setting: str) -> None:
    """Attention over time of the video tower in one Triton kernel, for clips of up to 16 latent frames.

    Args:
        setting: name of the setting that asks for it, for the error.

    Raises:
        UserError: Triton is not installed; it names `setting`.
    """
    try:
        from syncflow.model.temporal_kernel import attend
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise UserError(f"{setting}: Triton is not installed; pip install triton, or leave it off") from None
    for block in model.video_tower.modules():
        if isinstance(block, TemporalBlock):
            block.self_attention.kernel = attend
