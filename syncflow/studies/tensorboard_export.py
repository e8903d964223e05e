"""Tracked runs as TensorBoard event files: curves as scalars, settings as text."""

import math
from collections.abc import Sequence
from pathlib import Path

from syncflow.errors import UserError
from syncflow.studies.compared_runs import ComparedRun


def export_tensorboard(runs: Sequence[ComparedRun], folder: Path) -> list[Path]:
    """Write a folder of event files per run, for `tensorboard --logdir FOLDER`; the folders.

    Points that are not finite are left out. A folder that has a run's events already is refused: TensorBoard
    would lay both over each other.

    Args:
        runs: with their curves.
        folder: gets a subfolder of each run's name.

    Raises:
        UserError: events of a run are there already.
    """
    from torch.utils.tensorboard import SummaryWriter  # seconds to import

    places = {run.name: folder / run.name for run in runs}
    for place in places.values():
        if any(place.glob("events.out.tfevents.*")):
            raise UserError(f"tensorboard {place}: holds events already; give another folder")
    for run in runs:
        with SummaryWriter(str(places[run.name])) as writer:
            for name, curve in sorted(run.curves.items()):
                for step, value in curve:
                    if math.isfinite(value):
                        writer.add_scalar(name, value, global_step=step)
            settings = "\n".join(f"    {name}: {value}" for name, value in sorted(run.params.items()))
            writer.add_text("settings", settings)
    return list(places.values())
