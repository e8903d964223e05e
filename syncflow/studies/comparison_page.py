"""A comparison for people: Markdown, HTML, the terminal, and curves as PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.files import write_whole
from syncflow.html_page import heading, page, paragraph, picture, players
from syncflow.html_page import table as html_table

Band = Sequence[tuple[int, float, float]]  # step, mean, deviation
Clips = Sequence[tuple[Path, str]]  # files and captions


@dataclass(frozen=True, kw_only=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is said of the runs of one stage."""

    title: str
    tables: Sequence[Table]
    figures: Sequence[Path]
    clips: Sequence[tuple[str, Clips]] = ()
    """Clips that were made while training, in groups with a title; in the HTML page alone."""


def write_pages(folder: Path, sections: Sequence[Section]) -> Path:
    """`comparison.md` and `comparison.html` in `folder`; the former's path.

    The HTML page has curves and clips inside it: it opens offline, and can be sent as it is.
    """
    report = folder / "comparison.md"
    parts = ["# Comparison of runs"]
    for section in sections:
        parts += [f"## {section.title}", *map(_markdown, section.tables)]
        parts += [f"![{path.stem}]({path.name})" for path in section.figures]
    report.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_whole(report.with_suffix(".html"), _html(sections))
    return report


def draw_curve(path: Path, bands: Mapping[str, Band], *, name: str) -> Path:
    """The groups' means over the steps; a band of one deviation where a group has several runs.

    Args:
        bands: of each group.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for group, band in bands.items():
        steps, means, deviations = (list(column) for column in zip(*band, strict=True))
        axes.plot(steps, means, label=group)
        if any(deviations):
            low = [mean - each for mean, each in zip(means, deviations, strict=True)]
            high = [mean + each for mean, each in zip(means, deviations, strict=True)]
            axes.fill_between(steps, low, high, alpha=0.2)
    axes.set(xlabel="step", ylabel=name)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def print_tables(sections: Sequence[Section]) -> None:
    """To the terminal."""
    from rich.console import Console
    from rich.table import Table as Printed

    for section in sections:
        for table in section.tables:
            printed = Printed(title=f"{section.title}: {table.title}")
            for name in table.header:
                printed.add_column(name, overflow="fold")
            for row in table.rows:
                printed.add_row(*row)
            Console().print(printed)


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    head = [f"### {table.title}", "", line(table.header), "|" + "---|" * len(table.header)]
    return "\n".join([*head, *map(line, table.rows)])


def _html(sections: Sequence[Section]) -> str:
    parts: list[str] = []
    for section in sections:
        parts.append(heading(section.title))
        for each in section.tables:
            parts += [paragraph(each.title), html_table(each.header, each.rows)]
        parts += [picture(path) for path in section.figures]
        for title, clips in section.clips:
            parts += [paragraph(title), players(clips)]
    return page("Comparison of runs", parts)
