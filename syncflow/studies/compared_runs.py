"""Runs that were tracked, gathered into groups; unlike ones are refused."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syncflow.errors import UserError

Curve = list[tuple[int, float]]  # step, value
PROTOCOL = ("dataset.files_sha256", "held_out", "tolerance_s", "split")  # settings and tags
PROTOCOL_GROUPS = ("clip.", "flow.loss.")


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run: its settings and tags, and every metric over the steps."""

    name: str
    stage: str  # video, audio, joint, evaluation ...
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    curves: Mapping[str, Curve]

    def value(self, name: str) -> str | None:
        """A setting, or a tag where there is no such setting."""
        return self.params.get(name, self.tags.get(name))


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs that are shown together."""

    name: str
    runs: tuple[ComparedRun, ...]


def protocol_of(run: ComparedRun) -> dict[str, str]:
    """What must be the same in two runs of a stage for their figures to compare: data, and how they were
    measured. What a run does not say is empty; what changed while it ran is told with both values."""
    protocol = {name: run.value(name) or "" for name in PROTOCOL}
    protocol |= {name: value for name, value in run.params.items() if name.startswith(PROTOCOL_GROUPS)}
    for name in protocol:
        if later := run.tags.get(f"changed.{name}"):
            protocol[name] += f", then {later}"
    if run.params.get("validate_every", "0") != "0":
        sizes = [int(run.params.get(name, 1)) for name in ("validation_batches", "batch_size", "workers")]
        protocol["validation_samples"] = str(sizes[0] * sizes[1] * sizes[2])
    return protocol


def check_comparable(runs: Sequence[ComparedRun], *, allowed: Sequence[str]) -> None:
    """Refuse runs of a stage that were measured otherwise, or on other data.

    Raises:
        UserError: it names two runs, the first difference, and the flag to insist.
    """
    first: dict[str, ComparedRun] = {}
    for run in runs:
        other = first.setdefault(run.stage, run)
        ours, others = protocol_of(run), protocol_of(other)
        for name in sorted(ours.keys() | others.keys()):
            if ours.get(name, "") != others.get(name, "") and name not in allowed:
                raise UserError(
                    f"runs {other.name} and {run.name}: {name} is {others.get(name, '')!r} in the first, "
                    f"{ours.get(name, '')!r} in the second, so their figures do not compare; choose with "
                    f"--runs, or insist with --allow-different {name}"
                )


def grouped(runs: Sequence[ComparedRun], by: Sequence[str]) -> list[RunGroup]:
    """Runs with the same values of the settings or tags `by`; each by itself where there are none.

    Raises:
        UserError: a run has no such setting or tag.
    """
    if not by:
        return [RunGroup(name=run.name, runs=(run,)) for run in runs]
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        for name in by:
            if run.value(name) is None:
                near = difflib.get_close_matches(name, [*run.params, *run.tags], n=3, cutoff=0.4)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise UserError(f"group_by {name}: run {run.name} has no such setting or tag{hint}")
        groups.setdefault(", ".join(f"{name} {run.value(name)}" for name in by), []).append(run)
    return [RunGroup(name=f"{name} (n = {len(runs)})", runs=tuple(runs)) for name, runs in groups.items()]
