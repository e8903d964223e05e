"""Which blocks of a stage's model run compiled, and which attention in one kernel."""

from syncflow.errors import UserError
from syncflow.model.compiled import attend_in_one_kernel, compile_blocks, no_compiler
from syncflow.model.dual_dit import DualDiT
from syncflow.training.distributed import device, rank
from syncflow.training.stage.config import TrainConfig


def compile_where_asked(model: DualDiT, config: TrainConfig) -> bool:
    """Compile the model's blocks, if the settings ask for it or leave it to what is there; whether they are.

    Attention over time becomes one kernel before that, if they ask for it.

    Raises:
        UserError: they ask for it, and there is no C++ compiler, GPU or Triton.
    """
    if config.engine.temporal_kernel:
        if device().type != "cuda":
            raise UserError("engine.temporal_kernel: no GPU here, and its kernel is for one; leave it off")
        attend_in_one_kernel(model, setting="engine.temporal_kernel")
    asked = config.engine.compile
    if asked == "never" or (asked == "auto" and device().type != "cuda"):
        return False
    if asked == "auto" and (reason := no_compiler() or config.engine.not_compiled):
        if rank() == 0:
            print(f"blocks run uncompiled, slower: {reason}", flush=True)
        return False
    compile_blocks(
        model,
        setting="engine.compile",
        memory_budget=config.engine.activation_memory_budget,
        or_eager=asked == "auto",
    )
    if rank() == 0:
        print("blocks are compiled as they are called: the first steps take a minute or more", flush=True)
    return True
