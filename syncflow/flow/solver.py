"""Ordinary differential equation solvers from noise (t = 0) to data (t = 1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from syncflow.flow.config import SolverConfig
from syncflow.flow.latents import add_scaled, present
from syncflow.flow.time_sampling import shift_times
from syncflow.records import AVLatents

Velocity = Callable[[AVLatents, Tensor], AVLatents]
"""Velocity of latents at times `b`, which `solve` hands over on the CPU: to look at them waits for no GPU."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a callback sees after each step."""

    number: int  # from 0
    total: int
    t: float  # the flow time that `x` has reached
    x: AVLatents


def time_grid(config: SolverConfig) -> list[float]:
    """steps + 1 increasing flow times, exactly 0 first and exactly 1 last."""
    even = torch.linspace(0, 1, config.steps + 1, dtype=torch.float64)
    if config.spacing == "cosine":
        even = 0.5 - 0.5 * torch.cos(math.pi * even)
    if config.spacing == "shifted":
        even = shift_times(even, config.shift)
    return [0.0, *even[1:-1].tolist(), 1.0]


def step_times(config: SolverConfig, *, start: float = 0.0) -> list[float]:
    """Flow times from `start` to 1 between which the steps lie."""
    return [start, *(t for t in time_grid(config) if t > start)]


def evaluation_times(config: SolverConfig, *, start: float = 0.0) -> list[float]:
    """Flow times at which `solve` asks for a velocity, rising, each once."""
    times = step_times(config, start=start)
    if config.method == "heun":
        return times
    if config.method == "midpoint":
        return [each for t, until in itertools.pairwise(times) for each in (t, t + (until - t) / 2)]
    return times[:-1]


def solve(
    velocity: Velocity,
    x: AVLatents,
    *,
    config: SolverConfig,
    start: float = 0.0,
    callback: Callable[[Step], AVLatents | None] | None = None,
) -> AVLatents:
    """Follow `velocity` from `x`, at flow time `start`, to t = 1.

    The state should be float32 whatever the model's dtype. `start` above 0 skips the grid's times up
    to it (editing from partly noised data). `callback` is called after each step; the latents it
    returns, if any, replace the state.
    """
    times = step_times(config, start=start)
    batch = present(x)[0].shape[0]

    def at(state: AVLatents, t: float) -> AVLatents:
        return velocity(state, torch.full((batch,), t))

    previous: tuple[float, AVLatents] | None = None  # the last step's size and velocity, for ab2
    for number, (t, until) in enumerate(itertools.pairwise(times)):
        h = until - t
        v = at(x, t)
        if config.method == "midpoint":
            terms = [(h, at(add_scaled(x, (h / 2, v)), t + h / 2))]
        elif config.method == "heun":
            terms = [(h / 2, v), (h / 2, at(add_scaled(x, (h, v)), until))]
        elif config.method == "ab2" and previous is not None:
            ratio = h / previous[0] / 2
            terms = [(h * (1 + ratio), v), (-h * ratio, previous[1])]
        else:  # euler, and the first step of ab2
            terms = [(h, v)]
        x = add_scaled(x, *terms)
        previous = (h, v)
        if callback is not None:
            x = callback(Step(number=number, total=len(times) - 1, t=until, x=x)) or x
    return x
