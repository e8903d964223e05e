"""A worker kept between tasks: made once for an owner, never another owner's, and at most one is held."""

import pytest

from infra.executors import placement
from infra.executors.placement import in_tasks, run_kept


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list["Worker"]:
    monkeypatch.setattr(placement, "_kept", {})
    monkeypatch.setattr(Worker, "made", found := list["Worker"]())
    return found


class Worker:
    made: list["Worker"] = []  # noqa: RUF012  (a new one for each test)

    def __init__(self, file: str) -> None:
        self.held = file
        self.made.append(self)

    def __call__(self, item: int) -> str:
        return f"{self.held} {item}"


def test_a_worker_is_made_at_its_owners_first_item_and_left_for_the_next_owners(made: list[Worker]) -> None:
    one, other = (in_tasks(Worker, "weights", most=2) for _ in range(2))
    assert one["fn"] is run_kept and one["compute"].size == 2
    assert [run_kept(item, *one["fn_args"]) for item in range(3)] == ["weights 0", "weights 1", "weights 2"]
    assert len(made) == 1
    run_kept(0, *other["fn_args"])  # with the same arguments, but the file may be another by now
    assert len(made) == 2 and list(placement._kept.values()) == made[1:]
    assert run_kept(3, *one["fn_args"]) == "weights 3" and len(made) == 3


def test_one_that_cannot_be_made_leaves_none(made: list[Worker]) -> None:
    run_kept(0, *in_tasks(Worker, "weights", most=1)["fn_args"])
    with pytest.raises(TypeError):
        run_kept(0, *in_tasks(Worker, most=1)["fn_args"])
    assert not placement._kept
