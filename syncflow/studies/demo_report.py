"""One page of what the demo made: clips with their strips, scores, curves, times."""

import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from syncflow.evaluation.report import number
from syncflow.files import write_whole
from syncflow.html_page import heading, page
from syncflow.studies.demo import Part


def write_report(output: Path, *, parts: Sequence[Part], seconds: Mapping[str, float]) -> Path:
    """`report.html`; its links are relative, so that the folder can be moved."""
    made = output / "generated"
    sections = [
        ("The shipped model: text to clip", _clips(made / "shipped", output)),
        ("Trained by this demo: text to clip", _clips(made / "text_to_clip", output)),
        ("Trained by this demo: video to audio", _clips(made / "video_to_sound", output)),
        ("Synchrony", _scores(output / "scores" / "summary.csv")),
        ("Distances and agreement by open backbones", _metrics(output / "scores" / "metrics.csv")),
        ("Losses", _pictures(sorted((output / "comparison").glob("*.png")), output)),
        ("Times", _table(("part", "seconds"), [(name, f"{s:.0f}") for name, s in seconds.items()])),
        ("Commands", "<pre>" + html.escape("\n".join(" ".join(p.command) for p in parts)) + "</pre>"),
    ]
    parts_of_page = [heading(title) + content for title, content in sections]
    path = output / "report.html"
    write_whole(path, page("SyncFlow demo", parts_of_page, inside=False))
    return path


def _clips(folder: Path, root: Path) -> str:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["failure"]]
    figures = []
    for row in rows:
        clip = (folder / row["file"]).relative_to(root)
        caption = html.escape(row["prompt"] or Path(row["video"]).name)
        figures.append(
            f'<figure class="strip"><video controls src="{clip.as_posix()}"></video> '
            f'<img src="{clip.with_suffix(".png").as_posix()}" alt="frames over the waveform">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "".join(figures)


def _scores(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    cells = [
        (
            row["system"],
            f"{row['used']} / {row['expected']}",
            number(float(row["f1"]), 3),
            number(float(row["chance_f1"]), 3),
            number(float(row["offset_ms"]), 1),
        )
        for row in rows
    ]
    return _table(("system", "clips used / expected", "sync F1", "F1 by chance", "offset, ms"), cells)


def _metrics(path: Path) -> str:
    """One row per metric and system: interval, what real clips reach among themselves, N, notes."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    cells = [
        (
            f"{row['title']} ({row['better']} is better)",
            row["system"],
            f"{row['value']} ({row['low']} to {row['high']})" if row["value"] else "",
            row["floor"],
            f"{row['used']} / {row['expected']}",
            row["note"],
        )
        for row in rows
    ]
    header = (
        "metric",
        "system",
        "value (95 %)",
        "real clips among themselves",
        "clips used / expected",
        "note",
    )
    lacking = any("no such file" in row["note"] for row in rows)
    remedy = "<p><code>pipelines/fetch_backbones.py</code> brings the files that lack.</p>" if lacking else ""
    return _table(header, cells) + remedy


def _pictures(paths: Sequence[Path], root: Path) -> str:
    return "".join(
        f'<figure><img src="{path.relative_to(root).as_posix()}" alt="{html.escape(path.stem)}"></figure>'
        for path in paths
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(header, "th") + "".join(line(row, "td") for row in rows) + "</table>"
