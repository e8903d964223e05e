"""DeepSpeed imported without noise or compilers, and its settings."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from syncflow.training.distributed import world_size

LINEAR = ["torch.nn.Linear", "syncflow.model.linear.Linear"]  # DeepSpeed takes no subclasses


def prepare_deepspeed() -> Any:
    """Import DeepSpeed, quiet, and on CPU without compiling its shared-memory operations."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    with warnings.catch_warnings(), silent():
        warnings.simplefilter("ignore")
        import deepspeed
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # on first use it would compile for a minute, in all workers at once, and a race there may crash
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def deepspeed_config(
    *, zero_stage: int, micro_batch: int, accumulate: int, clip_norm: float, bf16: bool, communication: str
) -> dict[str, Any]:
    """DeepSpeed's settings; the optimizer and its schedule are ours.

    Autocast is asked for here: on a GPU the engine turns off one that it finds around itself. Under autocast
    what travels in bfloat16 are the gradients of modules that are named as safe in lower precision, and under
    stage 3 their weights; without autocast, all gradients.

    Args:
        micro_batch: samples of one pass.
        communication: "float32" or "bfloat16".
    """
    halved, on_gpu = communication == "bfloat16", torch.cuda.is_available()
    return {
        "torch_autocast": {
            "enabled": bf16,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": LINEAR if halved else [],
        },
        "communication_data_type": "bf16" if halved else "fp32",
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulate,
        "train_batch_size": micro_batch * accumulate * world_size(),
        "gradient_clipping": clip_norm,
        "zero_optimization": {
            "stage": zero_stage,
            "contiguous_gradients": on_gpu,  # a copy more, against fragments of a GPU's memory
            "overlap_comm": on_gpu and zero_stage > 0,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """DeepSpeed prints and logs while it is imported and set up; errors are raised, not printed."""
    logging.disable(logging.WARNING)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logging.disable(logging.NOTSET)
