"""The look of every report: one self-contained HTML page, with pictures, charts and players inside it.

Nothing is loaded from elsewhere, so a page opens offline and can be sent as it is; only the demo's report,
which is long, has its clips beside it.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

KINDS = {".png": "image/png", ".mp4": "video/mp4", ".wav": "audio/wav", ".jpg": "image/jpeg"}
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
STYLE = """
:root{color-scheme:light dark;--line:#8884;--bar:#4878a8}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;margin:.5rem 0}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
tr+tr td{border-top:1px solid var(--line)}td.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{display:inline-block;height:.8em;background:var(--bar);border-radius:2px}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
figure{margin:0}video,img{max-width:100%}video{width:100%;image-rendering:pixelated}
.strip video{width:12rem;vertical-align:top}.strip{margin:1rem 0}pre{overflow:auto}
figcaption{font-size:.85rem;overflow-wrap:anywhere}
"""


def page(title: str, parts: Sequence[str], *, inside: bool = True) -> str:
    """A whole document of `parts`, each already HTML.

    `inside`: all that it shows is in it, and a browser is told to load nothing else; else its pictures and
    clips lie beside it.
    """
    name = html.escape(title)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' if inside else ""
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{policy}'
        f'<meta name="viewport" content="width=device-width"><title>{name}</title><style>{STYLE}</style>'
    )
    return "\n".join([head, f"<h1>{name}</h1>", *parts, "</html>"]) + "\n"


def heading(text: str) -> str:
    """The title of a section."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{html.escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers are set to the right."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def bars(header: tuple[str, str], counts: Sequence[tuple[str, int]]) -> str:
    """A bar chart of counts, as a table that can be read without the bars."""
    most = max((count for _, count in counts), default=0) or 1
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td class=n>{count:,}</td>"
        f'<td><span class=bar style="width:{20 * count / most:.2f}rem"></span></td></tr>'
        for name, count in counts
    )
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    return f"<table><tr>{head}<th></th></tr>{rows}</table>"


def picture(path: Path) -> str:
    """A picture of the disk, inside the page."""
    return f'<p><img src="{_inside(path)}" alt="{html.escape(path.stem)}"></p>'


def players(clips: Sequence[tuple[Path, str]]) -> str:
    """Clips with their captions, side by side, each inside the page."""
    figures = "".join(
        f'<figure><video controls preload="metadata" src="{_inside(path)}"></video>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for path, caption in clips
    )
    return f'<div class="clips">{figures}</div>'


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"<td class=n>{value:,}</td>" if isinstance(value, int) else f"<td class=n>{value:.4g}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def _inside(path: Path) -> str:
    return f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
