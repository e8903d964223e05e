"""Writes the states of a run beside its training: a copy on the CPU, then a thread, one state at a time.

A state appears under its name at the first step at which all workers have written their part: whole and
finite, or not at all.
"""

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from syncflow.data.parquet.lock import check_lock
from syncflow.errors import UserError
from syncflow.hashing import file_sha256, first_not_finite, settings_sha256
from syncflow.training.distributed import all_sum, barrier, device, owner, rank, world_size
from syncflow.training.finite import NotFiniteError, gathered
from syncflow.training.loop import Callback
from syncflow.training.resume import MANIFEST, SavedState, Stateful, find_fault, run_of, saved_steps


class Saver(Callback):
    """Saves the state every `every` steps, and at the end. All its calls are collective.

    An error of a worker's thread ends training at all workers with the next step.

    Args:
        folder: of the states.
        parts: what has state: the engine, the moving average.
        keep: states of this run that are kept; those of others are left alone.
        settings: what must be the same when the run goes on.
        resumed: the state that the run goes on from.
        wait_every: at multiples of this step the state is on disk when the step's callbacks go on; 0: never.
        lock: of the run's folder, the owner's id; a worker whose job lost it saves nothing. Empty: none.
    """

    def __init__(
        self,
        folder: Path,
        parts: Sequence[Stateful],
        *,
        every: int,
        keep: int,
        settings: Mapping[str, Any],
        resumed: SavedState | None = None,
        wait_every: int = 0,
        lock: str = "",
    ) -> None:
        self.folder, self.parts, self.every, self.keep = folder, parts, every, keep
        self.settings, self.wait_every, self.lock = settings, wait_every, lock
        self.last = 0 if resumed is None else resumed.step
        self.run = uuid.uuid4().hex if resumed is None else resumed.manifest.get("run", "")
        self.own: list[Path] = [] if resumed is None else self._states_until(resumed.step)
        self._writing: _Writing | None = None

    def on_step(self, step: int) -> None:
        if self._writing is not None and self._all_have_written():
            self._finish()
        if step % self.every == 0:
            self.save(step, wait=bool(self.wait_every) and step % self.wait_every == 0)

    def on_end(self, step: int) -> None:
        if self._writing is not None:
            self._finish()
        if step != self.last:
            self.save(step, wait=True)

    def save(self, step: int, *, wait: bool) -> None:
        """Begin to write the state of `step`; `wait` until it is there.

        Raises:
            NotFiniteError: it holds NaN or Inf.
            UserError: the folder cannot be written.
        """
        if self._writing is not None:
            self._finish()
        temporary = self.folder / f".step_{step:08}.partial"
        with self._together(f"the state of step {step}"):
            if rank() == 0:
                for stale in self.folder.glob(".step_*.partial"):
                    shutil.rmtree(stale)
                temporary.mkdir(parents=True)
        mine = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for part in self.parts
            for name, tensor in part.state()
            if owner(name) == rank()
        }
        self._writing = _Writing(step, temporary, mine, lock=self.lock)
        if wait:
            self._finish()

    def last_states(self, count: int) -> list[SavedState]:
        """The last intact states of this run, the latest first, at most `count`; for the first worker."""
        found: list[SavedState] = []
        for state in reversed(self.own):
            if len(found) == count:
                break
            if fault := find_fault(state):
                print(f"{state}: damaged ({fault}); passed over", flush=True)
                continue
            found.append(SavedState(state))
        return found

    @contextlib.contextmanager
    def naming_last_state(self) -> Iterator[None]:
        """What ends the block because it is not finite is told with the last state, and remedies.

        Raises:
            UserError: so; at all workers.
        """
        try:
            yield
        except NotFiniteError as error:
            if self._writing is not None:
                self._finish()
            states = saved_steps(self.folder)
            told = f"{error}; there is no state yet: begin with a lower --optimizer.lr"
            if states:
                told = (
                    f"{error}; the last state is {states[0]}: the same command goes on from it with a lower "
                )
                told += "--optimizer.lr and --allow-change optimizer.lr"
            if len(states) > 1:
                told += f" (from {states[1].name} if {states[0].name} is removed)"
            raise UserError(
                f"{told}, or with --optimizer.skip-not-finite 10 to leave out as many such updates"
            ) from None

    def _states_until(self, step: int) -> list[Path]:
        found = [path for path in saved_steps(self.folder) if run_of(path) == self.run]
        return sorted(path for path in found if path.name <= f"step_{step:08}")

    def _all_have_written(self) -> bool:
        assert self._writing is not None
        done = torch.tensor(float(self._writing.is_done()), device=device())
        return int(all_sum(done).item()) == world_size()

    def _finish(self) -> None:
        """Wait for all parts, and give the state its name."""
        writing, self._writing = self._writing, None
        assert writing is not None
        told = f"the state of step {writing.step}"
        with self._together(told):
            writing.wait()
        with self._together(told):
            if rank() == 0:
                self._publish(writing)
        self.last = writing.step
        barrier()

    def _publish(self, writing: "_Writing") -> None:
        temporary, final = writing.folder, self.folder / f"step_{writing.step:08}"
        files = {}
        for part in sorted(temporary.glob("part_*.safetensors")):
            note = part.with_suffix(".sha256")
            files[part.name] = note.read_text(encoding="utf-8")
            note.unlink()
        assert len(files) == world_size(), f"{temporary}: {len(files)} parts of {world_size()} workers"
        manifest = {"step": writing.step, "workers": world_size(), "settings": dict(self.settings)}
        manifest |= {"files": files, "run": self.run, "finite": True}
        manifest = json.loads(json.dumps(manifest))  # as it will be read
        manifest["sha256"] = settings_sha256(manifest)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _sync(temporary / MANIFEST)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        self.own = [*(path for path in self.own if path < final), final]
        for old in self.own[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        self.own = self.own[-self.keep :]

    @contextlib.contextmanager
    def _together(self, what: str) -> Iterator[None]:
        """The error of one worker is raised by all. Collective."""
        errors: list[str] = []
        is_finite = True
        try:
            yield
        except NotFiniteError as error:
            errors, is_finite = [str(error)], False
        except (OSError, SafetensorError, UserError) as error:
            errors = [error.strerror or str(error) if isinstance(error, OSError) else str(error)]
        not_finite, told = gathered([] if is_finite else errors), gathered(errors)
        if not_finite:
            raise NotFiniteError(f"{what} cannot be saved: {not_finite[0]}")
        if told:
            states = saved_steps(self.folder)
            going_on = f"; the same command goes on from {states[0]}" if states else ""
            raise UserError(f"{what} cannot be saved: {' '.join(told[0].split())}{going_on}")


class _Writing:
    """One worker's part of a state, being written by a thread."""

    def __init__(self, step: int, folder: Path, tensors: dict[str, Tensor], *, lock: str) -> None:
        self.step, self.folder = step, folder
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._work, args=(tensors, lock), name=f"state of step {step}", daemon=True
        )
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Raises what the thread raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, tensors: dict[str, Tensor], lock: str) -> None:
        try:
            check_lock(self.folder.parent.parent, owner=lock)
            if bad := first_not_finite(tensors.items()):
                raise NotFiniteError(f"{bad} is not finite")
            path = self.folder / f"part_{rank():05}.safetensors"
            save_file(tensors, path)
            _sync(path)
            path.with_suffix(".sha256").write_text(file_sha256(path), encoding="utf-8")
        except BaseException as error:
            self._error = error


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
