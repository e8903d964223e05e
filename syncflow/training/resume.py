"""States from which a run goes on: written whole or not at all, and checked before they are used.

    <stage>/engine/step_00000500/part_00000.safetensors   one a worker, tensors by name
                                 manifest.json            step, settings, sha256 of each part

A state does not depend on the number of workers or on the engine, and holds no pickles.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.training.distributed import all_sum, barrier, device, owner, rank, world_size
from syncflow.training.loop import Callback

MANIFEST = "manifest.json"
NAMES = {"step", "workers", "settings", "files"}  # in it; and `sha256` of these, but in early ones


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


def save_state(
    folder: Path, parts: Iterable[Stateful], *, step: int, settings: Mapping[str, Any], keep: int
) -> None:
    """Write the state after `step` updates below `folder`, and leave the last `keep` ones. Collective."""
    final, temporary = folder / f"step_{step:08}", folder / f".step_{step:08}.partial"
    if rank() == 0:
        for stale in folder.glob(".step_*.partial"):
            shutil.rmtree(stale)
        temporary.mkdir(parents=True)
    barrier()
    mine = {
        name: tensor.detach().cpu().contiguous()
        for part in parts
        for name, tensor in part.state()
        if owner(name) == rank()
    }
    path = temporary / f"part_{rank():05}.safetensors"
    save_file(mine, path)
    _sync(path)
    path.with_suffix(".sha256").write_text(file_sha256(path), encoding="utf-8")
    barrier()
    if rank() == 0:
        files = {}
        for part in sorted(temporary.glob("part_*.safetensors")):
            note = part.with_suffix(".sha256")
            files[part.name] = note.read_text(encoding="utf-8")
            note.unlink()
        assert len(files) == world_size(), f"{temporary}: {len(files)} parts of {world_size()} workers"
        manifest = {"step": step, "workers": world_size(), "settings": dict(settings), "files": files}
        manifest = json.loads(json.dumps(manifest))  # as it will be read
        manifest["sha256"] = settings_sha256(manifest)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _sync(temporary / MANIFEST)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        for old in saved_steps(folder)[keep:]:
            shutil.rmtree(old)
    barrier()


def saved_steps(folder: Path) -> list[Path]:
    """The states below `folder`, the latest first; checked or not."""
    return sorted(folder.glob("step_[0-9]*"), reverse=True)


def find_fault(state: Path) -> str:
    """What is wrong with a state; empty when every byte is as it was written."""
    try:
        manifest = json.loads((state / MANIFEST).read_text(encoding="utf-8"))
        own, files = manifest.pop("sha256", None), manifest["files"]
        if set(manifest) != NAMES or own not in (None, settings_sha256(manifest)):
            return f"{MANIFEST} has changed since it was written"
        for name, expected in files.items():
            if file_sha256(state / name) != expected:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def latest_state(folder: Path) -> SavedState | None:
    """The last intact state; damaged ones are named and passed over. Collective: all get the same.

    Raises:
        UserError: there are states, and none is intact.
    """
    states, chosen = saved_steps(folder), -1
    if rank() == 0:
        for number, state in enumerate(states):
            fault = find_fault(state)
            if not fault:
                chosen = number
                break
            print(f"{state}: damaged ({fault}); taking the state before it", flush=True)
    chosen = int(all_sum(torch.tensor(float(chosen if rank() == 0 else 0), device=device())).item())
    if chosen >= 0:
        return SavedState(states[chosen])
    if states:
        raise UserError(f"{folder}: no state is intact; remove this folder to begin again")
    return None


def check_settings(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, allowed: Sequence[str], source: str
) -> None:
    """Refuse to go on with other settings than those of the beginning.

    Raises:
        UserError: it names the first differences and the flag to insist.
    """
    differing = [
        name
        for name in sorted(saved.keys() | current.keys())
        if saved.get(name) != current.get(name) and name not in allowed
    ]
    if differing:
        shown = ", ".join(f"{n} was {saved.get(n)!r}, now {current.get(n)!r}" for n in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{source}: begun with other settings: {shown}{more}; restore them, choose another output, "
            f"or insist with --allow-change {' '.join(differing)}"
        )


class Saver(Callback):
    """Saves the state every `every` steps, and at the end."""

    def __init__(
        self,
        folder: Path,
        parts: Sequence[Stateful],
        *,
        every: int,
        keep: int,
        settings: Mapping[str, Any],
    ) -> None:
        self.folder, self.parts, self.every, self.keep = folder, parts, every, keep
        self.settings = settings
        self.last = -1

    def on_start(self, *, start_step: int, steps: int) -> None:
        self.last = start_step

    def on_step(self, step: int) -> None:
        if step % self.every == 0:
            self._save(step)

    def on_end(self, step: int) -> None:
        if step != self.last:
            self._save(step)

    def _save(self, step: int) -> None:
        save_state(self.folder, self.parts, step=step, settings=self.settings, keep=self.keep)
        self.last = step


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
