"""One page per package: its modules, for mkdocstrings to fill from their docstrings."""

from functools import cache
from pathlib import Path

TREES = ("syncflow", "preprocessing", "infra")


@cache
def api_pages(root: Path) -> dict[str, tuple[str, str]]:
    """Place of each page -> its title and Markdown."""
    pages: dict[str, tuple[str, str]] = {}
    for tree in TREES:
        for folder in [root / tree, *sorted(each for each in (root / tree).rglob("*") if each.is_dir())]:
            modules = sorted(path for path in folder.glob("*.py") if _is_shown(path))
            if not modules:
                continue
            package = ".".join(folder.relative_to(root).parts)
            sections = (f"::: {package}.{module.stem}\n" for module in modules)
            pages[f"api/{package}.md"] = (package, f"# {package}\n\n" + "\n".join(sections))
    return dict(sorted(pages.items()))


def _is_shown(path: Path) -> bool:
    return not path.stem.startswith("_") and bool(path.read_text(encoding="utf-8").strip())
