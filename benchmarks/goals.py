"""What a benchmark measured beside what it is to reach, as one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number.

    Args:
        what: the quantity, with its unit.
        value: as measured.
        goal: what it is to reach; None: it is printed without a goal.
        better: which side of the goal is wanted.
    """

    what: str
    value: float
    goal: float | None = None
    better: Literal["less", "more"] = "less"

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == "less" else self.value >= self.goal


def print_goals(figures: Sequence[Figure]) -> None:
    """A row for each figure: what, measured, goal, and whether it is met."""
    table = Table("", "measured", "goal", "")
    for figure in figures:
        goal = ""
        if figure.goal is not None:
            goal = f"{'at most' if figure.better == 'less' else 'at least'} {figure.goal:g}"
        verdict = {True: "met", False: "not met", None: ""}[figure.met]
        table.add_row(figure.what, f"{figure.value:.3g}", goal, verdict)
    Console().print(table)
