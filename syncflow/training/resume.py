"""States from which a run goes on: written whole or not at all, and checked before they are used.

    <stage>/engine/step_00000500/part_00000.safetensors   one a worker, tensors by name
                                 manifest.json            step, run, settings, sha256 of each part

A state does not depend on the number of workers or on the engine, and holds no pickles.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from syncflow.errors import UserError
from syncflow.hashing import file_sha256, first_not_finite, settings_sha256
from syncflow.training.distributed import all_sum, device, rank, world_size
from syncflow.training.finite import gathered

MANIFEST = "manifest.json"
REQUIRED = {"step", "workers", "settings", "files"}  # in it
NAMES = REQUIRED | {"run", "finite"}  # and `sha256` of these, but in early ones


class Stateful(Protocol):
    """Part of a run's state: an engine, a moving average."""

    def state(self) -> Iterator[tuple[str, Tensor]]: ...

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


class SavedState(Mapping[str, Tensor]):
    """The tensors of a state's parts, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self._parts = {part: safe_open(folder / part, framework="pt") for part in self.manifest["files"]}
        self._where = {name: opened for opened in self._parts.values() for name in opened.keys()}  # noqa: SIM118

    @property
    def step(self) -> int:
        """Updates done."""
        return self.manifest["step"]

    def __getitem__(self, name: str) -> Tensor:
        return self._where[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def saved_steps(folder: Path) -> list[Path]:
    """The states below `folder`, the latest first; checked or not."""
    return sorted(folder.glob("step_[0-9]*"), reverse=True)


def run_of(state: Path) -> str | None:
    """The run that wrote a state: an id, empty for early versions; None where it cannot be told."""
    try:
        return str(json.loads((state / MANIFEST).read_text(encoding="utf-8")).get("run", ""))
    except (OSError, ValueError, AttributeError):
        return None


def find_fault(state: Path, *, share: int = 0, of: int = 1) -> str:
    """What is wrong with a state; empty when every byte is as it was written and every number finite.

    Args:
        share: which of its parts are read: those whose number is `share` modulo `of`.
    """
    try:
        manifest = json.loads((state / MANIFEST).read_text(encoding="utf-8"))
        own, files = manifest.pop("sha256", None), manifest["files"]
        if not REQUIRED <= set(manifest) <= NAMES or own not in (None, settings_sha256(manifest)):
            return f"{MANIFEST} has changed since it was written"
        for name, expected in sorted(files.items())[share::of]:
            if file_sha256(state / name) != expected:
                return f"{name} has changed since it was written"
            if not manifest.get("finite") and (bad := _not_finite_in(state / name)):
                return f"{bad} is not finite"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def latest_state(folder: Path) -> SavedState | None:
    """The last intact state; damaged ones are named and passed over. Collective: all get the same.

    The workers share out the reading.

    Raises:
        UserError: there are states, and none is intact.
    """
    count = len(saved_steps(folder)) if rank() == 0 else 0
    count = int(all_sum(torch.tensor(float(count), device=device())).item())
    for state in saved_steps(folder)[:count]:
        faults = gathered(list(filter(None, [find_fault(state, share=rank(), of=world_size())])))
        if not faults:
            return SavedState(state)
        if rank() == 0:
            print(f"{state}: damaged ({faults[0]}); taking the state before it", flush=True)
    if count:
        raise UserError(f"{folder}: no state is intact; remove this folder to begin again")
    return None


def _not_finite_in(part: Path) -> str:
    with safe_open(part, framework="pt") as opened:
        return first_not_finite((name, opened.get_tensor(name)) for name in opened.keys())  # noqa: SIM118


def check_settings(
    saved: Mapping[str, Any],
    current: Mapping[str, Any],
    *,
    allowed: Sequence[str],
    source: str,
    anew: str = "",
) -> None:
    """Refuse to go on with other settings than those of the beginning.

    Args:
        current: settings of this run, by dotted name.
        allowed: names that may differ.
        source: what was begun with `saved`.
        anew: a flag that begins again.

    Raises:
        UserError: it names the first differences and the flag to insist.
    """
    differing = [
        name
        for name in sorted(saved.keys() | current.keys())
        if saved.get(name) != current.get(name) and name not in allowed
    ]
    if differing:
        shown = ", ".join(
            f"{n} was {_short(saved.get(n))}, now {_short(current.get(n))}" for n in differing[:3]
        )
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{source}: begun with other settings: {shown}{more}; restore them, choose another output, "
            f"{f'begin again with {anew}, ' if anew else ''}"
            f"or insist with --allow-change {' '.join(differing)}"
        )


def _short(value: Any) -> str:
    """As it is printed; of a hash, the beginning."""
    is_hash = isinstance(value, str) and len(value) == 64
    return repr(value[:12] if is_hash else value)
