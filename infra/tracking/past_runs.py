"""Runs of an MLflow store, chosen by name, as the comparison takes them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from infra.tracking.runs import STAGE_TAG, all_runs, client
from syncflow.errors import UserError
from syncflow.places import sqlite_file
from syncflow.studies.compared_runs import ComparedRun, Curve
from syncflow.studies.comparison_config import CompareConfig


def read_runs(config: CompareConfig) -> list[ComparedRun]:
    """The chosen runs that hold metrics, the oldest first.

    Raises:
        UserError: no store, no experiment or no run of the name.
    """
    file = sqlite_file(config.tracking_uri)
    if file is not None and not file.is_file():
        raise UserError(f"tracking_uri {config.tracking_uri}: no such file; give the store of earlier runs")
    store = client(config.tracking_uri)
    experiments = [e for e in store.search_experiments() if config.experiment in ("", e.name)]
    if not experiments:
        raise UserError(f"experiment {config.experiment!r}: not in {config.tracking_uri}")
    identities = [e.experiment_id for e in experiments]
    found = list(all_runs(store, identities, order_by=["attributes.start_time ASC"]))
    chosen = [r for r in found if not config.runs or {r.info.run_id, r.info.run_name} & set(config.runs)]
    missing = set(config.runs) - {n for r in chosen for n in (r.info.run_id, r.info.run_name)}
    if missing:
        known = ", ".join(sorted({r.info.run_name for r in found})) or "none"
        raise UserError(f"runs {', '.join(sorted(missing))}: not in {config.tracking_uri}; it has {known}")
    names = Counter(run.info.run_name for run in chosen if run.data.metrics)
    runs = [
        ComparedRun(
            name=_own_name(run, names),
            stage=run.data.tags.get(STAGE_TAG, ""),
            status=run.info.status,
            params=run.data.params,
            tags=run.data.tags,
            curves={name: _curve(store, run.info.run_id, name) for name in run.data.metrics},
        )
        for run in chosen
        if run.data.metrics
    ]
    if not runs:
        raise UserError(f"{config.tracking_uri}: no run with metrics; train or evaluate first")
    return runs


def _own_name(run: Any, names: Mapping[str, int]) -> str:
    """The run's name; with the start of its id where others have the same."""
    name = run.info.run_name
    return name if names[name] == 1 else f"{name} {run.info.run_id[:8]}"


def _curve(store: Any, run_id: str, name: str) -> Curve:
    points = {point.step: point.value for point in store.get_metric_history(run_id, name)}
    return sorted(points.items())
