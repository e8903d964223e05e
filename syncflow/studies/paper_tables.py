"""The paper's own figures, Tables 1 to 4 whole, as rows beside metrics of the same name.

They come from weights, clips and extractors that were not released: a reference, marked as the paper's.
"""

from collections.abc import Set

from syncflow.studies.comparison_page import Table

T1, T2 = "Table 1, VGGSound", "Table 2, VGGSound, video"
T3, T4 = "Table 3, VGGSound, video to audio", "Table 4, Greatest Hits"

# the last part of a metric's name, and what the paper calls it
NAMES = {
    "fad": "FAD",
    "kl": "KL",
    "clap": "CLAP",
    "imagebind_av": "IB Gen-A & Gen-V",
    "imagebind_a_gtv": "IB Gen-A & GT-V",
    "imagebind_a_gtt": "IB Gen-A & GT-T",
    "fvd": "FVD",
    "imagebind_v_gtt": "IB Gen-V & GT-T",
    "imagebind_v_gta": "IB Gen-V & GT-A",
}
TABLE_1 = ("fad", "kl", "clap", "imagebind_av", "imagebind_a_gtv", "imagebind_a_gtt")
TABLE_2 = ("fvd", "imagebind_v_gtt", "imagebind_v_gta")
TABLE_3 = ("fad", "kl", "imagebind_a_gtv")
TABLE_4 = ("fad", "imagebind_av", "clap", "kl")

PAPER: tuple[tuple[str, str, tuple[str, ...], tuple[float, ...]], ...] = (
    (T1, "GroundTruth", TABLE_1, (0.0, 0.0, 0.275, 0.276, 0.276, 0.200)),
    (T1, "OpenSora + AudioLDM", TABLE_1, (6.56, 3.29, 0.248, 0.104, 0.078, 0.103)),
    (T1, "OpenSora + AudioLDM 2", TABLE_1, (8.61, 3.08, 0.255, 0.137, 0.116, 0.107)),
    (T1, "OpenSora + AudioGen", TABLE_1, (7.13, 3.38, 0.246, 0.094, 0.100, 0.100)),
    (T1, "OpenSora + SpecVQGAN", TABLE_1, (5.50, 3.06, 0.172, 0.086, 0.084, 0.065)),
    (T1, "OpenSora + Diff-Foley", TABLE_1, (10.58, 4.30, 0.185, 0.144, 0.097, 0.085)),
    (T1, "OpenSora + FoleyGen", TABLE_1, (3.69, 3.08, 0.228, 0.159, 0.122, 0.141)),
    (T1, "CoDi", TABLE_1, (8.44, 3.53, 0.174, 0.091, 0.084, 0.100)),
    (T1, "SyncFlow-VGG", TABLE_1, (1.81, 2.53, 0.311, 0.182, 0.180, 0.176)),
    (T1, "SyncFlow-VGG at 128 x 128", TABLE_1, (3.18, 2.65, 0.300, 0.148, 0.170, 0.158)),
    (T1, "SyncFlow-VGG at 512 x 512", TABLE_1, (2.59, 2.60, 0.266, 0.165, 0.149, 0.157)),
    (T1, "SyncFlow-VGG-AV-FT", TABLE_1, (2.36, 2.54, 0.308, 0.190, 0.178, 0.174)),
    (T2, "GroundTruth", TABLE_2, (0.6, 0.332, 0.276)),
    (T2, "CoDi, 4 fps", TABLE_2, (718.8, 0.338, 0.181)),
    (T2, "OpenSora, 128 x 128", TABLE_2, (506.9, 0.308, 0.164)),
    (T2, "OpenSora, 256 x 256", TABLE_2, (397.7, 0.356, 0.203)),
    (T2, "OpenSora, 512 x 512", TABLE_2, (331.8, 0.374, 0.209)),
    (T2, "SyncFlow-VGG-AV-FT", TABLE_2, (298.4, 0.350, 0.220)),
    (T3, "GroundTruth", TABLE_3, (0.0, 0.0, 0.276)),
    (T3, "FoleyGen", TABLE_3, (1.31, 1.97, 0.297)),
    (T3, "SpecVQGAN", TABLE_3, (5.53, 2.91, 0.094)),
    (T3, "Diff-Foley", TABLE_3, (7.85, 3.51, 0.143)),
    (T3, "SyncFlow-VGG, zero-shot", TABLE_3, (1.81, 2.44, 0.210)),
    (T4, "SyncFlow-GH", TABLE_4, (0.92, 0.156, 0.354, 2.88)),
    (T4, "SyncFlow-GH without adaptor", TABLE_4, (2.34, 0.144, 0.313, 3.37)),
    (T4, "text to audio", TABLE_4, (1.01, 0.138, 0.379, 2.74)),
)


def paper_rows(metrics: Set[str]) -> Table | None:
    """The paper's rows that have one of `metrics` (`<system>/fad`, `<system>/kl` ...); None without any."""
    held = {name.rpartition("/")[2] for name in metrics}
    columns = [name for name in NAMES if name in held]
    if not columns:
        return None
    rows = []
    for table, setting, names, values in PAPER:
        figures = dict(zip(names, values, strict=True))
        if figures.keys() & set(columns):
            shown = (f"{figures[name]:g}" if name in figures else "" for name in columns)
            rows.append((table, setting, *shown))
    title = "The paper's own figures: other weights, clips and extractors; a reference, not a rival"
    return Table(title=title, header=("table", "setting", *(NAMES[name] for name in columns)), rows=rows)
