"""A figure of the scores of a dataset's windows: where a threshold would cut."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from syncflow.data.index import WindowIndex

COLUMNS = 3
BINS = 40


def draw_scores(windows: WindowIndex, path: Path) -> None:
    """One histogram a score, windows upward, with the median marked.

    Args:
        windows: of a dataset.
        path: the figure; its suffix says which kind.
    """
    names = sorted(windows.file.scores)
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.6 * rows), layout="constrained")
    for place, name in enumerate(names, start=1):
        values = windows.score(name)
        axes = figure.add_subplot(rows, COLUMNS, place)
        axes.hist(values, bins=BINS, color="tab:blue")
        axes.axvline(float(np.median(values)), color="tab:orange", label=f"median {np.median(values):.3g}")
        axes.set_title(name)
        axes.set_ylabel("windows")
        axes.legend(fontsize="small")
    with rc_context({"svg.fonttype": "none"}):  # words stay words
        figure.savefig(path, dpi=100)
