"""What mkdocs calls while it builds the site: generated pages, and the navigation that lists them."""

from pathlib import Path

from api_pages import api_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from project_pages import project_pages
from settings_pages import settings_pages

ROOT = Path(__file__).resolve().parent.parent.parent


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation, and pages of `docs/` that it does not list to "How to"."""
    assert config.nav is not None
    sections = {name: items for entry in config.nav for name, items in entry.items()}
    listed = set(_pages_of(config.nav))
    sections["How to"] += [
        page.name for page in sorted(Path(config.docs_dir).glob("*.md")) if page.name not in listed
    ]
    sections["Reference"] += [
        {"Settings": _entries(settings_pages(ROOT))},
        {"API": _entries(api_pages(ROOT))},
    ]
    sections["Project"] += _entries(project_pages(ROOT))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the text of the generated pages."""
    for pages in (settings_pages(ROOT), api_pages(ROOT), project_pages(ROOT)):
        for place, (_, text) in pages.items():
            files.append(File.generated(config, place, content=text))
    return files


def _entries(pages: dict[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{title: place} for place, (title, _) in pages.items()]


def _pages_of(nav: list) -> list[str]:
    """Every page that a navigation names."""
    pages: list[str] = []
    for entry in nav:
        items = entry.values() if isinstance(entry, dict) else [entry]
        for item in items:
            pages += _pages_of(item) if isinstance(item, list) else [item]
    return pages
