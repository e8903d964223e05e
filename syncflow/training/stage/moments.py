"""Adam's moments carried from one stage to the next, for the parts that both train.

They are not in a checkpoint, which is three times smaller without: they are in the states of the stage
before, which lie beside it.
"""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from syncflow.checkpoint import CheckpointManifest
from syncflow.errors import UserError
from syncflow.training.engine import OPTIMIZER_KEYS
from syncflow.training.resume import SavedState, latest_state, saved_steps


def check_moments(start: str) -> None:
    """Refuse a checkpoint that has no states beside it.

    Raises:
        UserError: so.
    """
    if not saved_steps(Path(start).parent / "engine"):
        raise UserError(
            f"carry_moments: no states beside {start}; start from a checkpoint that lies where its stage "
            "wrote it, or leave carry_moments off"
        )


def carried_moments(start: str) -> SavedState:
    """The state from which the checkpoint `start` was made. Collective.

    Raises:
        UserError: the last intact state is of another step.
    """
    check_moments(start)
    state, step = latest_state(Path(start).parent / "engine"), CheckpointManifest.read(Path(start)).step
    assert state is not None
    if state.step != step:
        raise UserError(
            f"carry_moments: {state.folder} is not of step {step}, at which {start} was made; "
            "run that stage again, or leave carry_moments off"
        )
    return state


def with_moments(weights: Iterable[tuple[str, Tensor]], earlier: SavedState) -> dict[str, Tensor]:
    """A state of these weights, with the moments of `earlier` for those that it has too. Collective."""
    state = {f"weight/{name}": value.detach().cpu().clone() for name, value in weights}
    names = [name.removeprefix("weight/") for name in state]
    for key in OPTIMIZER_KEYS:
        state |= {f"{key}/{name}": earlier[f"{key}/{name}"] for name in names if f"{key}/{name}" in earlier}
    return state
