import itertools
import math

import pytest
import torch

from syncflow.flow.config import SolverConfig
from syncflow.flow.solver import Step, solve, time_grid
from syncflow.records import AVLatents

METHODS = ["euler", "midpoint", "heun", "ab2"]
SPACINGS = ["uniform", "cosine", "shifted"]


def state(value: float = 1.0) -> AVLatents:
    return AVLatents(video=torch.full((2, 1, 1, 1, 1), value).double(), audio=torch.full((2, 1, 3), value))


def field(function):
    """A velocity that is `function(x, t)` for both modalities."""

    def velocity(x: AVLatents, t: torch.Tensor) -> AVLatents:
        time = float(t[0].double())
        return AVLatents(video=function(x.video, time), audio=function(x.audio, time))

    return velocity


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_the_grid_runs_from_exactly_0_to_exactly_1(spacing: str, steps: int) -> None:
    grid = time_grid(SolverConfig(steps=steps, spacing=spacing, shift=3.0))
    assert len(grid) == steps + 1 and grid[0] == 0.0 and grid[-1] == 1.0
    assert all(later > earlier for earlier, later in itertools.pairwise(grid))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_every_solver_is_exact_on_a_constant_velocity(method: str, spacing: str, steps: int) -> None:
    config = SolverConfig(method=method, spacing=spacing, steps=steps, shift=2.0)
    found = solve(field(lambda x, t: torch.full_like(x, 3.0)), state(), config=config)
    torch.testing.assert_close(found.video, torch.full_like(found.video, 4.0))
    torch.testing.assert_close(found.audio, torch.full_like(found.audio, 4.0))


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_euler_on_dx_dt_equal_x_is_compound_interest(steps: int) -> None:
    found = solve(field(lambda x, t: x), state(), config=SolverConfig(steps=steps))
    assert float(found.video[0]) == pytest.approx((1 + 1 / steps) ** steps, rel=1e-12)


@pytest.mark.parametrize("method", ["midpoint", "heun"])
@pytest.mark.parametrize("steps", [1, 4])
def test_second_order_solvers_are_exact_when_velocity_is_linear_in_time(method: str, steps: int) -> None:
    found = solve(
        field(lambda x, t: torch.full_like(x, 2 * t)),
        state(),
        config=SolverConfig(method=method, steps=steps),
    )
    assert float(found.video[0]) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("ab2", 2)])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_error_falls_with_the_order_of_the_solver(method: str, order: int, spacing: str) -> None:
    exact = math.exp(1.5)  # of dx/dt = x (1 + t)

    def error(steps: int) -> float:
        config = SolverConfig(method=method, steps=steps, spacing=spacing, shift=1.5)
        found = solve(field(lambda x, t: x * (1 + t)), state(), config=config)
        return abs(float(found.video[0]) - exact)

    assert math.log2(error(40) / error(80)) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    ("method", "evaluations"), [("euler", 6), ("ab2", 6), ("midpoint", 12), ("heun", 12)]
)
def test_what_a_solver_costs(method: str, evaluations: int) -> None:
    calls = []

    def velocity(x: AVLatents, t: torch.Tensor) -> AVLatents:
        calls.append(t)
        return x

    solve(velocity, state(), config=SolverConfig(method=method, steps=6))
    assert len(calls) == evaluations
    assert all(t.shape == (2,) and t.dtype == torch.float32 for t in calls)


def test_a_callback_sees_every_step_and_may_replace_the_state() -> None:
    seen: list[Step] = []

    def watch(step: Step) -> AVLatents | None:
        seen.append(step)
        return state(9.0) if step.number == 2 else None

    found = solve(
        field(lambda x, t: torch.zeros_like(x)), state(), config=SolverConfig(steps=4), callback=watch
    )
    assert [(s.number, s.total, s.t) for s in seen] == [(i, 4, (i + 1) / 4) for i in range(4)]
    assert float(found.video[0]) == 9.0


def test_starting_late_follows_the_rest_of_the_way() -> None:
    found = solve(
        field(lambda x, t: torch.full_like(x, 2.0)), state(), config=SolverConfig(steps=10), start=0.35
    )
    assert float(found.video[0]) == pytest.approx(1 + 2 * 0.65)


def test_one_modality_alone() -> None:
    found = solve(
        lambda x, t: x, AVLatents(video=None, audio=torch.ones(1, 2, 2)), config=SolverConfig(steps=3)
    )
    assert found.video is None and found.audio is not None
