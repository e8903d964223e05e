"""The paper's own figures, as rows beside metrics of the same name.

They come from weights, clips and extractors that were not released: a reference, marked as the paper's.
"""

from collections.abc import Set

from infra.compare_page import Table

# dataset, setting, and its figures by the last part of a metric's name
PAPER: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("Table 1, VGGSound", "SyncFlow-VGG", {"fad": 1.81, "kl": 2.53, "clap": 0.311, "imagebind_av": 0.182}),
    (
        "Table 1, VGGSound",
        "SyncFlow-VGG-AV-FT",
        {"fad": 2.36, "kl": 2.54, "clap": 0.308, "imagebind_av": 0.190},
    ),
    (
        "Table 1, VGGSound",
        "OpenSora + FoleyGen",
        {"fad": 3.69, "kl": 3.08, "clap": 0.228, "imagebind_av": 0.159},
    ),
    ("Table 2, VGGSound", "OpenSora, 256 x 256", {"fvd": 397.7}),
    ("Table 2, VGGSound", "SyncFlow-VGG-AV-FT", {"fvd": 298.4}),
    ("Table 3, VGGSound, video to sound", "SyncFlow-VGG", {"fad": 1.81, "kl": 2.44, "imagebind_av": 0.210}),
    (
        "Table 4, Greatest Hits",
        "SyncFlow-GH",
        {"fad": 0.92, "imagebind_av": 0.156, "clap": 0.354, "kl": 2.88},
    ),
    (
        "Table 4, Greatest Hits",
        "SyncFlow-GH without adaptor",
        {"fad": 2.34, "imagebind_av": 0.144, "clap": 0.313, "kl": 3.37},
    ),
    (
        "Table 4, Greatest Hits",
        "text to audio",
        {"fad": 1.01, "imagebind_av": 0.138, "clap": 0.379, "kl": 2.74},
    ),
)


def paper_rows(metrics: Set[str]) -> Table | None:
    """The paper's rows that have one of `metrics` (`<system>/fad`, `<system>/kl` ...); None without any."""
    held = {name.rpartition("/")[2] for name in metrics}
    columns = [name for name in dict.fromkeys(n for *_, row in PAPER for n in row) if name in held]
    if not columns:
        return None
    rows = [
        (table, setting, *(f"{figures[name]:g}" if name in figures else "" for name in columns))
        for table, setting, figures in PAPER
        if set(columns) & figures.keys()
    ]
    title = "The paper's own figures: other weights, clips and extractors; a reference, not a rival"
    return Table(title=title, header=("table", "setting", *columns), rows=rows)
