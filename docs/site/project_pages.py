"""The files at the root that are pages of the site too; their links are turned to those of `docs/`."""

import re
from functools import cache
from pathlib import Path

PAGES = {
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
    "SECURITY.md": "Security",
    "CODE_OF_CONDUCT.md": "Code of conduct",
}
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)]+)\)")


@cache
def project_pages(root: Path) -> dict[str, tuple[str, str]]:
    """Place of each page -> its title and Markdown."""
    return {
        f"project/{name.lower()}": (title, _LINK.sub(_turned, (root / name).read_text(encoding="utf-8")))
        for name, title in PAGES.items()
    }


def _turned(link: re.Match[str]) -> str:
    """A link seen from the root, seen from `docs/project/`."""
    target = link[1]
    if target in PAGES:
        return f"]({target.lower()})"
    assert target.startswith("docs/"), f"{target}: on the site only pages under docs/ can be linked"
    return f"](../{target.removeprefix('docs/')})"
