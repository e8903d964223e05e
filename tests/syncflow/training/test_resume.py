"""Saved states: whatever is wrong with one is found before use, and the one before it is taken."""

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from syncflow.data.parquet.lock import writer_lock
from syncflow.errors import UserError
from syncflow.training import saver as saver_module
from syncflow.training.resume import MANIFEST, SavedState, find_fault, latest_state, saved_steps
from syncflow.training.saver import Saver

PART = "part_00000.safetensors"


class Numbers:
    """A run's state: some tensors that follow from the step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def state(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "weight/a", torch.full((3, 5), float(self.step))
        yield "step/a", torch.tensor(float(self.step))

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.step = int(state["step/a"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, 2, 4)
    return tmp_path


def save(folder: Path, *steps: int, keep: int = 2, resumed: SavedState | None = None) -> Saver:
    """A run of its own that saves at these steps; or one that goes on from `resumed`."""
    numbers = Numbers(0)
    saver = Saver(folder, [numbers], every=1, keep=keep, settings={"lr": 1e-3, "of": ["a"]}, resumed=resumed)
    for step in steps:
        numbers.step = step
        saver.save(step, wait=True)
    return saver


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def assert_the_one_before_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = latest_state(folder)
    assert state is not None and state.step == 2 and torch.equal(state["step/a"], torch.tensor(2.0))
    assert "step_00000004: damaged" in capsys.readouterr().out


def test_an_intact_state_has_no_fault(folder: Path) -> None:
    state = latest_state(folder)
    assert state is not None and state.step == 4 and not find_fault(state.folder)
    assert set(state) == {"weight/a", "step/a"}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", [PART, MANIFEST])
def test_a_truncated_file_is_found(folder: Path, name: str, share: float, capsys) -> None:
    cut(folder / "step_00000004" / name, share)
    assert_the_one_before_is_taken(folder, capsys)


@pytest.mark.parametrize("name", [PART, MANIFEST])
def test_a_missing_file_is_found(folder: Path, name: str, capsys) -> None:
    (folder / "step_00000004" / name).unlink()
    assert_the_one_before_is_taken(folder, capsys)


@pytest.mark.parametrize("name", [PART, MANIFEST])
def test_every_one_of_two_hundred_flipped_bits_is_found(folder: Path, name: str) -> None:
    path, draw = folder / "step_00000004" / name, np.random.default_rng(0)
    content = path.read_bytes()
    for bit in draw.integers(0, 8 * len(content), 200):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        same = name == MANIFEST and means_the_same(bytes(changed), content)
        assert same or find_fault(path.parent), f"bit {bit} of {name}"


def means_the_same(one: bytes, other: bytes) -> bool:
    """JSON has room for white space: a line's end may become another kind of it."""
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_files_that_stand_for_a_manifest_are_none(folder: Path, capsys) -> None:
    for content in ("[]", "3", "null", "{}", '{"files": []}', '{"files": {"../x": 1}}'):
        (folder / "step_00000004" / MANIFEST).write_text(content)
        assert_the_one_before_is_taken(folder, capsys)


def test_where_no_state_is_intact_it_is_one_line(folder: Path) -> None:
    for state in saved_steps(folder):
        cut(state / PART, 0.5)
    with pytest.raises(UserError, match="no state is intact; remove this folder to begin again"):
        latest_state(folder)


def test_the_last_ones_are_kept_and_half_written_ones_go(folder: Path) -> None:
    half = folder / ".step_00000005.partial"
    half.mkdir()
    save(folder, 6, resumed=latest_state(folder))
    assert [path.name for path in saved_steps(folder)] == ["step_00000006", "step_00000004"]
    assert not half.exists()


def test_rotation_never_takes_the_state_just_saved_nor_those_of_others(folder: Path) -> None:
    """Fewer are kept than before, beside a damaged state of a later step."""
    save(folder, 6, resumed=latest_state(folder))
    cut(folder / "step_00000006" / PART, 0.5)
    resumed = latest_state(folder)
    assert resumed is not None and resumed.step == 4
    saver = save(folder, 5, keep=1, resumed=resumed)
    assert [path.name for path in saved_steps(folder)] == ["step_00000006", "step_00000005"]
    assert [state.step for state in saver.last_states(3)] == [5]


def test_a_hand_over_takes_the_states_of_its_own_run(folder: Path) -> None:
    other = save(folder, 8)  # another run, which found none of the two
    mine = save(folder, 5, keep=9, resumed=SavedState(folder / "step_00000004"))
    assert [state.step for state in mine.last_states(9)] == [5, 4, 2]
    assert [state.step for state in other.last_states(9)] == [8]


def test_a_full_disk_is_one_line_and_the_last_state_stays(folder: Path, monkeypatch) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("syncflow.training.saver.save_file", full)
    with pytest.raises(UserError, match=r"of step 6 cannot be saved: No space left on device; .*00000004"):
        save(folder, 6, resumed=latest_state(folder))
    state = latest_state(folder)
    assert state is not None and state.step == 4


def test_a_worker_whose_job_lost_the_folder_saves_nothing(tmp_path: Path) -> None:
    with writer_lock(tmp_path) as lock:
        pass
    saver = Saver(tmp_path / "engine", [Numbers(1)], every=1, keep=1, settings={}, lock=lock)
    with pytest.raises(UserError, match="no longer holds the folder; nothing more is written"):
        saver.save(1, wait=True)
    assert not saved_steps(tmp_path / "engine")


def test_training_goes_on_while_a_state_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps go by; what is written is the state of its step, and has its name when all of it is there."""
    may_write, numbers = threading.Event(), Numbers(2)
    write = saver_module.save_file

    def slow(tensors: dict[str, torch.Tensor], path: Path) -> None:
        assert may_write.wait(30)
        write(tensors, path)

    monkeypatch.setattr(saver_module, "save_file", slow)
    saver = Saver(tmp_path, [numbers], every=2, keep=2, settings={})
    for step in (2, 3):
        numbers.step = step
        saver.on_step(step)
    assert not saved_steps(tmp_path)
    may_write.set()
    saver.on_end(4)
    states = [SavedState(path) for path in saved_steps(tmp_path)]
    assert {state.step: state["step/a"].item() for state in states} == {4: 3.0, 2: 2.0}
